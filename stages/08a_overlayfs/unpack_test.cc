#include "stages/08a_overlayfs/unpack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// An entry of a POSIX tar, see tar(5): `type` is '0' for a file, '2' for a link, '5' for a folder.
std::string entry(const std::string& name, char type, const std::string& content = "",
                  const std::string& target = "") {
  std::string header(512, '\0');
  const auto put = [&](std::size_t offset, const std::string& text) {
    header.replace(offset, text.size(), text);
  };
  const auto octal = [](std::size_t number, int digits) {
    return fmt::format("{:0{}o}", number, digits);
  };
  put(0, name);
  put(100, "0000755");
  put(108, "0000000");
  put(116, "0000000");
  put(124, octal(content.size(), 11));
  put(136, octal(0, 11));
  put(156, std::string(1, type));
  put(157, target);
  put(257, std::string("ustar\0"
                       "00",
                       8));
  put(148, std::string(8, ' '));
  std::size_t sum = 0;
  for (const unsigned char byte : header) sum += byte;
  put(148, octal(sum, 6) + '\0');
  std::string padded = content;
  padded.resize((content.size() + 511) / 512 * 512);
  return header + padded;
}

class Unpack : public testing::Test {
 protected:
  Unpack() {
    char name[] = "/tmp/unpack-XXXXXX";
    folder_ = mkdtemp(name);
    fs::create_directory(folder_ + "/layer");
  }
  ~Unpack() override { fs::remove_all(folder_); }

  FileDigest unpack(const std::string& content) {
    std::ofstream(folder_ + "/tar", std::ios::binary) << content;
    const UniqueFd tar(open((folder_ + "/tar").c_str(), O_RDONLY | O_CLOEXEC));
    return unpack_layer(tar, "the tar", folder_ + "/layer", left_);
  }

  struct stat status(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(lstat((folder_ + "/layer/" + path).c_str(), &st), 0) << path;
    return st;
  }

  std::string folder_;
  UnpackLimits left_;
};

const std::string kEnd(1024, '\0');

TEST_F(Unpack, AnswersTheDigestOfTheWholeFile) {
  // `printf abc | sha256sum`, after the end of a tar that is empty: all of the file counts.
  const FileDigest empty = unpack(kEnd);
  EXPECT_EQ(empty.bytes, 1024U);
  EXPECT_EQ(empty.sha256, "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef");
  const FileDigest longer = unpack(kEnd + std::string(1 << 20, 'x'));
  EXPECT_EQ(longer.bytes, 1024U + (1U << 20U));
  EXPECT_NE(longer.sha256, empty.sha256);
}

TEST_F(Unpack, MakesFilesFoldersAndLinks) {
  (void)unpack(entry("d/", '5') + entry("d/f", '0', "text") + entry("l", '2', "", "d/f") + kEnd);
  EXPECT_TRUE(S_ISDIR(status("d").st_mode));
  EXPECT_EQ(status("d/f").st_size, 4);
  EXPECT_EQ(status("d/f").st_mode & 07777U, 0755U);
  EXPECT_EQ(fs::read_symlink(folder_ + "/layer/l"), "d/f");
}

TEST_F(Unpack, TurnsWhiteoutsIntoThoseOfOverlayfs) {
  (void)unpack(entry("d/.wh.gone", '0') + entry("new/.wh..wh..opq", '0') + kEnd);
  EXPECT_TRUE(S_ISCHR(status("d/gone").st_mode));
  EXPECT_EQ(status("d/gone").st_rdev, makedev(0, 0));
  char value = 0;
  const std::string folder = folder_ + "/layer/new";
  EXPECT_EQ(getxattr(folder.c_str(), "user.overlay.opaque", &value, 1), 1);
  EXPECT_EQ(value, 'y');
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST_F(Unpack, OfTwoEntriesWithOneNameTheLaterCounts) {
  (void)unpack(entry("a", '0', "old") + entry("a", '2', "", "b") + entry("c/d", '0', "x") +
               entry("c", '0', "file") + kEnd);
  EXPECT_TRUE(S_ISLNK(status("a").st_mode));
  EXPECT_EQ(status("c").st_size, 4);
}

// As a file's name can be written in several ways, a link may name what it would replace.
TEST_F(Unpack, AFileThatIsLinkedToItselfStays) {
  (void)unpack(entry("d/f", '0', "text") + entry("./d//f", '1', "", "d/./f") + kEnd);
  EXPECT_EQ(status("d/f").st_size, 4);
}

TEST_F(Unpack, CountsEntries) {
  const std::string content = entry("a", '0') + entry("b", '0') + kEnd;
  left_.entries = 2;
  EXPECT_NO_THROW((void)unpack(content));
  EXPECT_EQ(left_.entries, 0U);
  left_.entries = 1;
  EXPECT_THROW((void)unpack(content), Failure);
}

TEST_F(Unpack, RefusesWhatLeadsOut) {
  for (const char* name : {"../a", "a/../../b", "..", "a/.."}) {
    EXPECT_THROW((void)unpack(entry(name, '0', "x") + kEnd), Failure) << name;
  }
  EXPECT_THROW((void)unpack(entry("l", '2', "", folder_) + entry("l/made", '0', "x") + kEnd),
               Failure);
  EXPECT_FALSE(fs::exists(folder_ + "/made"));
}

TEST_F(Unpack, RefusesWhatIsNoTarOrIsCutOff) {
  EXPECT_THROW((void)unpack("no tar"), Failure);
  EXPECT_THROW((void)unpack(entry("a", '0', std::string(5000, 'x')).substr(0, 3000)), Failure);
  try {
    (void)unpack(entry("a", '0') + std::string(512, 'x') + kEnd);
    ADD_FAILURE() << "a header that is none is taken";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(), "the tar: Damaged tar archive");
  }
  // A gzip about whose damage libarchive says nothing at all.
  const std::string damaged("\x1f\x8b\x08\0\0\0\0\0\x02\x03\x4b\x64\xa0\x3d\x30\x30", 16);
  EXPECT_THROW((void)unpack(damaged), Failure);
}

// The tar is read through two readers of libarchive, of which the inner one knows the reason and
// what is to be done. It may fail before the outer one has seen a header, or later.
TEST_F(Unpack, SaysWhyWhatIsInTheLayerCannotBeRead) {
  for (const std::size_t allowed : {0, 600}) {
    left_.bytes = allowed;
    try {
      (void)unpack(entry("a", '0', std::string(1 << 20, 'x')) + kEnd);
      FAIL() << "it was unpacked";
    } catch (const Failure& failure) {
      EXPECT_STREQ(failure.what(), "the tar: the layers unpack to more than --unpack-limit allows");
      EXPECT_EQ(failure.hint(), "raise it with --unpack-limit SIZE") << allowed;
    }
  }
}

}  // namespace
}  // namespace box
