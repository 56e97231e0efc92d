#include "stages/08a_overlayfs/oci_image.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// The digests below are what sha256sum says of these.
constexpr const char* kConfig = R"({"config":{"Cmd":["sh"],"Env":["A=b=c","=x","D"],"User":"u"}})";
constexpr const char* kConfigDigest =
    "b6cf26dd514bb4b754d476a9466bf723a38ed4ec41a2bb90229e6eac2053c90e";
constexpr const char* kManifest =
    R"({"config":{"digest":"sha256:b6cf26dd514bb4b754d476a9466bf723a38ed4ec41a2bb90229e6eac2053c90e"},)"
    R"("layers":[{"digest":"sha256:e28d98ac666afd34f089b971a663264d54d67a60ddc82996d48d8f3c204eb75f","size":7}]})";
constexpr const char* kManifestDigest =
    "7577736f3786ccdfa022e4736677e14f23cb9cb5affa96dc0f5d3dddc04c2e5b";
constexpr const char* kLayerDigest =
    "e28d98ac666afd34f089b971a663264d54d67a60ddc82996d48d8f3c204eb75f";

class Image : public testing::Test {
 protected:
  Image() {
    char name[] = "/tmp/image-XXXXXX";
    folder_ = mkdtemp(name);
    fs::create_directories(folder_ + "/blobs/sha256");
    write("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    write_index(std::string("sha256:") + kManifestDigest);
    write(std::string("blobs/sha256/") + kConfigDigest, kConfig);
    write(std::string("blobs/sha256/") + kManifestDigest, kManifest);
    write(std::string("blobs/sha256/") + kLayerDigest, "a layer");
  }
  ~Image() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
  }
  void write_index(const std::string& digest) {
    write("index.json", R"({"manifests":[{"digest":")" + digest + R"("}]})");
  }

  std::string folder_;
};

TEST_F(Image, IsReadAsItSays) {
  const OciImage image = read_image(folder_, "");
  ASSERT_EQ(image.layers.size(), 1U);
  EXPECT_EQ(image.layers[0].sha256, kLayerDigest);
  EXPECT_EQ(image.layers[0].bytes, 7U);
  EXPECT_EQ(image.command, std::vector<std::string>{"sh"});
  EXPECT_TRUE(image.entrypoint.empty());
  EXPECT_EQ(image.environment, (std::map<std::string, std::string>{{"A", "b=c"}}));
  EXPECT_EQ(image.user, "u");
}

TEST_F(Image, WithAnotherContentIsRefused) {
  write(std::string("blobs/sha256/") + kConfigDigest, std::string(kConfig) + " ");
  EXPECT_THROW((void)read_image(folder_, ""), Failure);
}

TEST_F(Image, WithASizeThatIsNoneIsRefused) {
  for (const std::string size : {"-1", "7.5", "7e3", "6666666666666666666666666666666667", "true",
                                 "\"7\"", "[]", "18446744073709551616"}) {
    write("index.json", std::string(R"({"manifests":[{"digest":"sha256:)") + kManifestDigest +
                            R"(","size":)" + size + "}]}");
    EXPECT_THROW((void)read_image(folder_, ""), Failure) << size;
  }
}

TEST_F(Image, WithADigestThatIsNoneIsRefused) {
  for (const std::string digest :
       {"", "sha256:", "sha256:../../../etc/passwd", "sha512:00",
        "sha256:7577736F3786CCDFA022E4736677E14F23CB9CB5AFFA96DC0F5D3DDDC04C2E5B"}) {
    write_index(digest);
    EXPECT_THROW((void)read_image(folder_, ""), Failure) << digest;
  }
}

}  // namespace
}  // namespace box
