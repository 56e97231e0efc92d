// Stage 08a: an OCI image layout. The input is its index.json and then its blobs, with a 0 between
// them; "@1" stands for the digest of the first blob, since nobody guesses a SHA-256.
#include "stages/08a_overlayfs/oci_image.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "harness/fuzz/fuzz.h"

namespace {

namespace fs = std::filesystem;
using box::fuzz::require;

constexpr std::size_t kMostBlobs = 9;  // a digit each

std::string sha256_of(const std::string& text) {
  sha256_ctx context;
  sha256_init(&context);
  sha256_update(&context, text.size(), reinterpret_cast<const std::uint8_t*>(text.data()));
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest = {};
  sha256_digest(&context, digest.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

// A blob can name only those behind it: it has their digests in it.
std::string with_digests(const std::string& text,
                         const std::array<std::string, kMostBlobs>& digests) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t blob = i + 1 < text.size() ? static_cast<std::size_t>(text[i + 1] - '1') : 0;
    if (text[i] == '@' && i + 1 < text.size() && blob < kMostBlobs && !digests[blob].empty()) {
      result += "sha256:" + digests[blob];
      ++i;
    } else {
      result += text[i];
    }
  }
  return result;
}

class Folder {
 public:
  Folder() {
    const char* parent = std::getenv("TEST_TMPDIR");
    path_ = std::string(parent != nullptr              ? parent
                        : fs::is_directory("/dev/shm") ? "/dev/shm"
                                                       : "/tmp") +
            "/oci-XXXXXX";
    require(mkdtemp(path_.data()) != nullptr, "a folder can be made");
    fs::create_directories(path_ + "/blobs/sha256");
    write("/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ + name, std::ios::binary) << content;
  }
  void remove(const std::string& name) const { fs::remove(path_ + name); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void check_image(const box::OciImage& image, const std::string& folder) {
  require(!image.layers.empty(), "an image has a layer");
  for (const box::Blob& blob : image.layers) {
    require(blob.sha256.size() == 64 &&
                blob.sha256.find_first_not_of("0123456789abcdef") == std::string::npos,
            "a layer is named by a digest");
    require(blob.path == folder + "/blobs/sha256/" + blob.sha256,
            "a layer is a blob of the layout");
  }
  for (const auto& [name, value] : image.environment) {
    require(!name.empty() && name.find('=') == std::string::npos, "a variable has a name");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  auto parts = box::fuzz::split(box::fuzz::text_of(data, size), '\0');
  std::array<std::string, kMostBlobs> digests;
  for (std::size_t i = std::min(parts.size() - 1, kMostBlobs); i > 0; --i) {
    const std::string blob = with_digests(parts[i], digests);
    digests[i - 1] = sha256_of(blob);
    folder.write("/blobs/sha256/" + digests[i - 1], blob);
  }
  folder.write("/index.json", with_digests(parts[0], digests));
  const auto image = box::fuzz::accepted([] { return box::read_image(folder.path(), "tag"); });
  const auto any = box::fuzz::accepted([] { return box::read_image(folder.path(), ""); });
  for (const auto& read : {image, any}) {
    if (read) check_image(*read, folder.path());
  }
  for (const auto& digest : digests) {
    if (!digest.empty()) folder.remove("/blobs/sha256/" + digest);
  }
  return 0;
}
