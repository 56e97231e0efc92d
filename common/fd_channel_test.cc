#include "common/fd_channel.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(FdChannel, HandsOverNamesAndDescriptors) {
  auto [ours, theirs] = FdChannel::make();
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);

  const pid_t child = fork();
  if (child == 0) {
    ours.close();
    theirs.send("");
    theirs.send(std::string(4000, 'x'), write_end.get());
    _exit(0);
  }
  theirs.close();
  write_end.close();

  FdChannel::Message message;
  ASSERT_TRUE(ours.receive(message));
  EXPECT_EQ(message.name, "");
  EXPECT_EQ(message.fd.get(), -1);
  ASSERT_TRUE(ours.receive(message));
  EXPECT_EQ(message.name, std::string(4000, 'x'));
  EXPECT_EQ(fcntl(message.fd.get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(write(message.fd.get(), "!", 1), 1);
  char byte = 0;
  ASSERT_EQ(read(read_end.get(), &byte, 1), 1);
  EXPECT_EQ(byte, '!');
  EXPECT_FALSE(ours.receive(message)) << "the other process has ended";
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST(FdChannel, SendingToNobodyIsAFailure) {
  auto [ours, theirs] = FdChannel::make();
  theirs.close();
  EXPECT_THROW(ours.send("x"), Failure);
}

}  // namespace
}  // namespace box
