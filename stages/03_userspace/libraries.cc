#include "stages/03_userspace/libraries.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "common/check.h"
#include "common/failure.h"
#include "common/read_file.h"
#include "stages/03_userspace/elf_file.h"
#include "stages/03_userspace/ld_so_cache.h"
#include "stages/03_userspace/processor.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// The loader for libraries, which do not name one.
#if defined(__x86_64__) && defined(__LP64__)
constexpr char kDefaultLoader[] = "/lib64/ld-linux-x86-64.so.2";
#elif defined(__i386__)
constexpr char kDefaultLoader[] = "/lib/ld-linux.so.2";
#elif defined(__aarch64__)
constexpr char kDefaultLoader[] = "/lib/ld-linux-aarch64.so.1";
#elif defined(__riscv) && __riscv_xlen == 64
constexpr char kDefaultLoader[] = "/lib/ld-linux-riscv64-lp64d.so.1";
#else
#error "the loader of this processor's libraries is not known here"
#endif

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

// Reads each loader once, because all programs of a userspace share one, of 200 KB.
const Processor& processor_as_seen_by(const std::string& loader) {
  static std::map<std::string, Processor> known;
  const auto [it, is_new] = known.try_emplace(loader);
  if (is_new) {
    it->second = this_processor(read_file_if_there(loader));
  }
  return it->second;
}

// What the loader records about each file that it has loaded.
struct Loaded {
  std::string path;  // where it was found
  ElfFile elf;
  const Loaded* because_of;     // the object that needs it, nullptr for the program
  std::set<std::string> names;  // the names for which it was found
  dev_t device;
  ino_t inode;
};

class Loader {
 public:
  explicit Loader(const std::string& program);

  [[nodiscard]] std::vector<std::string> paths() const;

 private:
  using Found = std::optional<Loaded>;

  void load_interpreter();
  void load(const std::string& name, const Loaded& needed_by);
  [[nodiscard]] Loaded* find_loaded(const std::string& name);
  [[nodiscard]] Found find(const std::string& name, const Loaded& needed_by) const;
  [[nodiscard]] Found find_in(const std::vector<std::string>& folders,
                              const std::string& name) const;
  [[nodiscard]] Found try_to_open(const std::string& path) const;
  [[nodiscard]] std::vector<std::string> split(const std::string& folders, const Loaded& of) const;
  [[nodiscard]] std::string expand(std::string text, const Loaded& of) const;

  std::deque<Loaded> loaded_;  // the program first; a deque, because its elements stay in place
  std::string lib_;            // $LIB: lib/x86_64-linux-gnu on Debian, lib64 on Fedora
  bool is_musl_ = false;       // the program's C library is not glibc
  Processor processor_;        // as this loader sees it
};

Loader::Loader(const std::string& program) {
  // $ORIGIN of a program is the directory of the file that /proc/self/exe leads to: all links on
  // the way are followed.
  std::error_code error;
  const fs::path path = fs::canonical(program, error);
  if (error) throw Failure(error.value(), program);
  Found found = try_to_open(path);
  if (!found && errno != 0) throw Failure(errno, program);
  if (!found) throw Failure(program + ": not a program for this kind of machine");
  if (found->elf.interpreter.empty()) found->path = fs::absolute(program);  // a library
  loaded_.push_back(std::move(*found));
  const ElfFile& elf = loaded_.front().elf;
  if (elf.interpreter.empty() && elf.needed.empty()) return;

  load_interpreter();
  // Breadth first: an object that is nearer to the program comes earlier, and the file that is
  // chosen for it serves all objects that need the same name later.
  for (std::size_t i = 0; i < loaded_.size(); ++i) {
    for (const auto& name : loaded_[i].elf.needed) load(expand(name, loaded_[i]), loaded_[i]);
  }
}

void Loader::load_interpreter() {
  const Loaded& program = loaded_.front();
  const bool is_program = !program.elf.interpreter.empty();
  const std::string path = is_program ? program.elf.interpreter : kDefaultLoader;
  is_musl_ = path.find("/ld-musl-") != std::string::npos;
  if (!is_musl_) processor_ = processor_as_seen_by(path);
  std::error_code error;
  // The loader is installed beside libc.
  lib_ = fs::canonical(path, error).parent_path().string();
  if (lib_.starts_with("/usr/")) lib_.erase(0, 4);
  if (lib_.starts_with("/")) lib_.erase(0, 1);
  if (!is_program) return;  // loaded because libc needs it

  Found found = try_to_open(path);
  if (!found)
    throw Failure(errno != 0 ? errno : ENOEXEC, program.path + " needs the loader " + path);
  found->names.insert(path);
  loaded_.push_back(std::move(*found));
}

void Loader::load(const std::string& name, const Loaded& needed_by) {
  if (find_loaded(name) != nullptr) return;
  Found found = find(name, needed_by);
  if (!found) {
    const std::string& program = loaded_.front().path;
    const std::string by = &needed_by == &loaded_.front() ? "" : " (for " + needed_by.path + ")";
    throw Failure(ENOENT, program + " needs the library " + name + by);
  }
  for (auto& other : loaded_) {
    if (other.device == found->device && other.inode == found->inode) {
      other.names.insert(name);  // the same file, by another path
      return;
    }
  }
  found->names.insert(name);
  found->because_of = &needed_by;
  loaded_.push_back(std::move(*found));
}

Loaded* Loader::find_loaded(const std::string& name) {
  const auto it = std::find_if(loaded_.begin(), loaded_.end(), [&](const Loaded& object) {
    return object.elf.soname == name || object.path == name || object.names.contains(name);
  });
  return it == loaded_.end() ? nullptr : &*it;
}

// "If a shared object dependency does not contain a slash, then it is searched for in the following
// order", ld.so(8).
Loader::Found Loader::find(const std::string& name, const Loaded& needed_by) const {
  if (name.find('/') != std::string::npos) return try_to_open(name);
  // musl's loader is also its libc, under any name.
  if (is_musl_ && name.starts_with("libc.")) return try_to_open(loaded_.front().elf.interpreter);

  // DT_RPATH applies to everything that is loaded because of the object, DT_RUNPATH only to the
  // object's own needs. For an object with DT_RUNPATH the loader ignores every DT_RPATH, even the
  // object's own.
  if (!needed_by.elf.has_runpath) {
    for (const Loaded* object = &needed_by; object != nullptr; object = object->because_of) {
      if (object->elf.has_runpath) continue;
      if (Found found = find_in(split(object->elf.rpath, *object), name)) return found;
    }
  }
  if (Found found = find_in(split(needed_by.elf.runpath, needed_by), name)) return found;
  if (needed_by.elf.only_own_folders) return std::nullopt;

  if (is_musl_) return find_in({"/lib", "/usr/local/lib", "/usr/lib"}, name);  // it has no cache
  static const LdSoCache cache("/etc/ld.so.cache");
  if (const std::string path = cache.find(name, processor_); !path.empty()) {
    if (Found found = try_to_open(path)) return found;
  }
  return find_in({"/" + lib_, "/usr/" + lib_, "/lib", "/usr/lib"}, name);
}

Loader::Found Loader::find_in(const std::vector<std::string>& folders,
                              const std::string& name) const {
  for (const auto& folder : folders) {
    const auto find_variant = [&](const std::string& below,
                                  const std::vector<std::string>& variants) -> Found {
      if (access((folder + below).c_str(), F_OK) == -1) return std::nullopt;
      for (const auto& variant : variants) {
        if (Found found = try_to_open(folder + below + variant + "/" + name)) return found;
      }
      return std::nullopt;
    };
    if (Found found = find_variant("/glibc-hwcaps/", processor_.levels)) return found;
    if (Found found = find_variant("/", processor_.legacy_folders)) return found;
    if (Found found = try_to_open(folder + "/" + name)) return found;
  }
  return std::nullopt;
}

// Like the loader, skips a file that cannot be opened or that is for another kind of machine, such
// as the 32-bit library of the same name, but does not skip garbage. `errno` is then the reason, or
// 0 for another machine.
Loader::Found Loader::try_to_open(const std::string& path) const {
  struct stat st;
  if (stat(path.c_str(), &st) == -1 || access(path.c_str(), R_OK) == -1) {
    if (errno == EIO || errno == ENOMEM) throw Failure(errno, path);  // that says nothing about it
    return std::nullopt;
  }
  std::optional<ElfFile> elf = read_elf_file(path);
  if (!elf) throw Failure(path + ": not an ELF file");
  errno = 0;
  if (!elf->native) return std::nullopt;
  return Loaded{path, std::move(*elf), nullptr, {}, st.st_dev, st.st_ino};
}

std::vector<std::string> Loader::split(const std::string& folders, const Loaded& of) const {
  std::vector<std::string> result;
  if (folders.empty()) return result;
  std::istringstream parts(folders + ":");
  for (std::string part; std::getline(parts, part, ':');) {
    result.push_back(part.empty() ? "." : expand(part, of));
  }
  return result;
}

// See "Dynamic string tokens" in ld.so(8).
std::string Loader::expand(std::string text, const Loaded& of) const {
  if (text.find('$') == std::string::npos) return text;
  const std::pair<std::string, std::string> tokens[] = {
      {"ORIGIN", fs::path(of.path).parent_path()},
      {"LIB", lib_},
      {"PLATFORM", processor_.platform},
  };
  for (const auto& [token, value] : tokens) {
    replace_all(text, "${" + token + "}", value);
    replace_all(text, "$" + token, value);
  }
  return text;
}

std::vector<std::string> Loader::paths() const {
  std::vector<std::string> paths;
  for (std::size_t i = 1; i < loaded_.size(); ++i) paths.push_back(fs::absolute(loaded_[i].path));
  return paths;
}

}  // namespace

std::vector<std::string> libraries_of(const std::string& program) {
  return Loader(program).paths();
}

}  // namespace box
