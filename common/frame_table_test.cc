#include <gtest/gtest.h>
#include <malloc.h>

#include <stdexcept>

namespace {

// Of what is registered, the unwinder makes a table that it keeps: 8 bytes for each function.
TEST(FrameTable, IsThereBeforeTheFirstException) {
  const auto before = mallinfo2().uordblks;
  try {
    throw std::runtime_error("the first");
  } catch (const std::runtime_error&) {
  }
  EXPECT_LT(mallinfo2().uordblks, before + 4096);
}

}  // namespace
