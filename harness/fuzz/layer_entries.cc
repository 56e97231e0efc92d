// Stage 08a: a layer whose tar is in order, and whose entries are not: the input says what they are
// called, what they are and where they lead. So links, folders and whiteouts of few names come in
// every order, which mutations of a tar's bytes hardly ever reach.
#include <array>
#include <cstdio>
#include <cstring>

#include "harness/fuzz/layer_room.h"

namespace {

// The input, a byte at a time; 0 behind its end.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  [[nodiscard]] bool any() const { return at_ < bytes_.size(); }
  std::size_t next(std::size_t below) {
    return at_ < bytes_.size() ? static_cast<unsigned char>(bytes_[at_++]) % below : 0;
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

constexpr std::array<std::string_view, 16> kNames = {
    "a",     "b",     "canary",     "layer",        "..",     ".",     "",     "c",
    ".wh.a", ".wh.b", ".wh.canary", ".wh..wh..opq", ".wh...", ".wh..", ".wh.", ".wh..wh.plnk"};
constexpr std::array<char, 10> kKinds = {'0', '1', '2', '5', '2', '5', '6', '3', '4', '7'};

std::string path(Choices& choices) {
  std::string path = choices.next(8) == 0 ? "/" : "";
  for (std::size_t parts = choices.next(4) + 1; parts > 0; --parts) {
    path += std::string(kNames[choices.next(kNames.size())]) + (parts > 1 ? "/" : "");
  }
  return path;
}

// See "POSIX ustar Archives" in tar(5).
struct Header {
  char name[100];
  char mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
  char kind;
  char target[100];
  char magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], padding[12];
};
static_assert(sizeof(Header) == 512);

std::string entry(const std::string& name, char kind, const std::string& target, unsigned mode,
                  unsigned owner, const std::string& content) {
  Header header = {};
  name.copy(header.name, sizeof header.name);
  target.copy(header.target, sizeof header.target);
  std::snprintf(header.mode, sizeof header.mode, "%07o", mode);
  std::snprintf(header.uid, sizeof header.uid, "%07o", owner);
  std::snprintf(header.gid, sizeof header.gid, "%07o", owner);
  std::snprintf(header.size, sizeof header.size, "%011zo", content.size());
  std::snprintf(header.mtime, sizeof header.mtime, "%011o", 1U);
  header.kind = kind;
  std::memcpy(header.magic,
              "ustar\0"
              "00",
              8);
  std::snprintf(header.major, sizeof header.major, "%07o", mode & 1);
  std::snprintf(header.minor, sizeof header.minor, "%07o", mode & 2);
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (std::size_t i = 0; i < sizeof header; ++i) {
    sum += reinterpret_cast<const unsigned char*>(&header)[i];
  }
  std::snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes += content;
  bytes.resize((bytes.size() + 511) / 512 * 512);
  return bytes;
}

// An extended attribute of the entry that follows, as GNU tar writes it.
std::string attribute(Choices& choices) {
  constexpr std::array<std::string_view, 6> kAttributes = {"user.a",
                                                           "user.overlay.opaque",
                                                           "user.overlay.redirect",
                                                           "trusted.overlay.redirect",
                                                           "security.capability",
                                                           "user.overlay.metacopy"};
  const std::string record =
      " SCHILY.xattr." + std::string(kAttributes[choices.next(kAttributes.size())]) + "=y\n";
  std::size_t length = record.size() + 2;  // the length is part of what it counts
  return entry("pax", 'x', "", 0644, 0, std::to_string(length) + record);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static box::fuzz::LayerRoom room;
  Choices choices(box::fuzz::text_of(data, size));
  std::string tar;
  while (choices.any()) {
    const char kind = kKinds[choices.next(kKinds.size())];
    if (choices.next(16) == 1) tar += attribute(choices);
    const std::string name = path(choices);
    const std::string target = kind == '1' || kind == '2' ? path(choices) : "";
    const auto mode = static_cast<unsigned>(choices.next(256) << 4);  // with set-user-ID
    const auto owner = static_cast<unsigned>(choices.next(3));
    tar += entry(name, kind, target, mode, owner, kind == '0' ? std::string(owner, 'x') : "");
  }
  room.unpack(tar + std::string(1024, '\0'));
  return 0;
}
