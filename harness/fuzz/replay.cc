// Runs a fuzz target once for each file of the folder named on the command line: a plain test, for
// any compiler. Without a file it fails.
//
// With FUZZ_SECONDS in the environment it goes on for so long with changed files, at low priority:
// the same ones each time, unless FUZZ_SEED is another number.
// It does not learn which changes reach new code, as libFuzzer does, which needs clang.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "harness/fuzz/fuzz.h"

// Part of the sanitizers' libraries, and not there without them.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kLargest = 8192;

Bytes current;
std::string kept_as;

void keep_current() {
  const int fd = open(kept_as.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool kept =
      write(fd, current.data(), current.size()) == static_cast<ssize_t>(current.size());
  std::fprintf(stderr, "%s: %s\n", kept_as.c_str(), kept ? "broke it" : "cannot be written");
}

void keep_and_die(int signal) {
  keep_current();
  (void)std::signal(signal, SIG_DFL);
  (void)raise(signal);
}

void keep_what_breaks_it() {
  const char* folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  kept_as = (folder == nullptr ? std::string(".") : folder) + "/broken";
  (void)std::signal(SIGABRT, keep_and_die);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(keep_current);
}

void run(const Bytes& bytes) {
  // On the heap, without a byte to spare: AddressSanitizer sees a read beyond the end.
  current = bytes;
  current.shrink_to_fit();
  (void)LLVMFuzzerTestOneInput(current.data(), current.size());
}

std::optional<unsigned> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  return static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

class Changer {
 public:
  explicit Changer(const std::vector<Bytes>& seeds)
      : seeds_(seeds), random_(number_in("FUZZ_SEED").value_or(1)) {}

  Bytes next() {
    Bytes bytes = any_seed();
    for (std::size_t left = 1 + below(4); left > 0; --left) change(bytes);
    if (bytes.size() > kLargest) bytes.resize(kLargest);
    return bytes;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  const Bytes& any_seed() { return seeds_[below(seeds_.size())]; }

  // Replaces a part of `bytes`, which may be empty, by `by`.
  void replace(Bytes& bytes, const Bytes& by) {
    const auto from = static_cast<std::ptrdiff_t>(below(bytes.size() + 1));
    const auto most = std::min<std::size_t>(bytes.size() - static_cast<std::size_t>(from), 16);
    bytes.erase(bytes.begin() + from,
                bytes.begin() + from + static_cast<std::ptrdiff_t>(below(most + 1)));
    bytes.insert(bytes.begin() + from, by.begin(), by.end());
  }

  void change(Bytes& bytes) {
    static constexpr std::array<std::string_view, 12> kWords = {
        "",   "0", "-1", "4294967295", "4294967296",       "18446744073709551616",
        "..", "/", ":",  "\n",         "\xff\xff\xff\xff", {"\0\0\0\0", 4}};
    switch (below(5)) {
      case 0:
        if (!bytes.empty()) {
          bytes[below(bytes.size())] ^= static_cast<std::uint8_t>(1U << below(8));
        }
        break;
      case 1:
        if (!bytes.empty()) bytes[below(bytes.size())] = static_cast<std::uint8_t>(random_());
        break;
      case 2: {
        const std::string_view word = kWords[below(kWords.size())];
        replace(bytes, {word.begin(), word.end()});
        break;
      }
      case 3: {
        const Bytes& other = any_seed();
        const auto from = static_cast<std::ptrdiff_t>(below(other.size()));
        const auto size =
            static_cast<std::ptrdiff_t>(below(other.size() - static_cast<std::size_t>(from) + 1));
        replace(bytes, {other.begin() + from, other.begin() + from + size});
        break;
      }
      default:
        bytes.resize(below(bytes.size() + 1));
    }
  }

  const std::vector<Bytes>& seeds_;
  std::mt19937 random_;
};

void fuzz_for(std::chrono::seconds time, const std::vector<Bytes>& seeds) {
  (void)setpriority(PRIO_PROCESS, 0, 19);
  Changer changer(seeds);
  const auto end = std::chrono::steady_clock::now() + time;
  std::size_t count = 0;
  for (; std::chrono::steady_clock::now() < end; ++count) run(changer.next());
  std::fprintf(stderr, "%zu changed inputs\n", count);
}

}  // namespace

int main(int, char** argv) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) return 1;
  keep_what_breaks_it();
  std::vector<Bytes> seeds;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    std::fprintf(stderr, "%s: %zu bytes\n", file.c_str(), seeds.back().size());
    run(seeds.back());
  }
  std::fprintf(stderr, "%zu inputs replayed\n", files.size());
  if (const char* seconds = std::getenv("FUZZ_SECONDS")) {
    fuzz_for(std::chrono::seconds(std::atoi(seconds)), seeds);
  }
  return 0;
}
