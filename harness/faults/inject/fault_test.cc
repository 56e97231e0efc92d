#include "harness/faults/inject/fault.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "common/failure.h"

namespace box {
namespace {

TEST(Fault, ACallFailsWithAnErrno) {
  const Fault fault = parse_failing_call("0.1:mount:2:EPERM");
  EXPECT_EQ(fault.kind, Fault::Kind::kReturn);
  EXPECT_EQ(fault.at.process, "0.1");
  EXPECT_EQ(fault.at.call, "mount");
  EXPECT_EQ(fault.at.nth, 2);
  EXPECT_EQ(fault.result, -EPERM);
}

TEST(Fault, ACallIsShort) { EXPECT_EQ(parse_short_call("0:write:1:0").result, 0); }

TEST(Fault, AVictimIsKilledAtTheCallOfAnother) {
  const Fault fault = parse_kill("0@0.1:read:1");
  EXPECT_EQ(fault.kind, Fault::Kind::kKill);
  EXPECT_EQ(fault.victim, "0");
  EXPECT_EQ(fault.at.process, "0.1");
  EXPECT_EQ(fault.at.nth, 1);
}

TEST(Fault, WhatIsWrongIsRefused) {
  for (const char* text : {"", "0", "0:mount", "0:mount:1", "0:mount:1:EPERM:more",
                           ":mount:1:EPERM", "0::1:EPERM", "0:mount:x:EPERM", "0:mount:1x:EPERM",
                           "0:mount:0:EPERM", "0:mount:1:ENONSENSE", "0:mount:1:1"}) {
    EXPECT_THROW(parse_failing_call(text), Failure) << text;
  }
  for (const char* text : {"0:write:1", "0:write:1:EIO", "0:write:99999999999999999999:0"}) {
    EXPECT_THROW(parse_short_call(text), Failure) << text;
  }
  for (const char* text : {"0:read:1", "@0:read:1", "0@0:read", "0@0:read:1:EIO"}) {
    EXPECT_THROW(parse_kill(text), Failure) << text;
  }
}

}  // namespace
}  // namespace box
