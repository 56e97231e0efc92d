// For tests: copy_tree_for_test -- FROM TO, where TO is a folder; or -- --with-links PATH ROOT.
#include <cstdio>

#include "common/interrupt.h"
#include "common/run_main.h"
#include "stages/03_userspace/copy_tree.h"

namespace box {
namespace {

int run(CommandLine& line) {
  std::vector<std::string> words;
  line.add_command(words);
  line.parse();
  const InterruptGuard guard;
  Copier copier(words.back());
  if (words.front() == "--with-links") {
    for (std::size_t i = 1; i + 1 < words.size(); ++i) copier.copy_with_links(words[i]);
  } else {
    copier.copy_tree(words.front(), ".");
  }
  const Copied& copied = copier.copied();
  std::printf("%lu %lu %lu %s\n", copied.files, copied.bytes, copied.skipped,
              copied.first_skipped.c_str());
  return 0;
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) { return box::run_main(argc, argv, box::run); }
