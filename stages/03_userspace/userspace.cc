#include "stages/03_userspace/userspace.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <set>
#include <sstream>

#include "common/build_once.h"
#include "common/check.h"
#include "common/failure.h"
#include "common/read_file.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "rootfs/builtin_rootfs.h"
#include "stages/03_userspace/copy_tree.h"
#include "stages/03_userspace/elf_file.h"
#include "stages/03_userspace/libraries.h"
#include "stages/03_userspace/progress.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr char kPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The programs of --userspace minimal, as far as the host has them.
constexpr const char* kMinimalPrograms[] = {
    "sh", "bash",  "ls",  "cat",   "echo",     "cp",    "mv",
    "rm", "mkdir", "ln",  "chmod", "chown",    "mount", "umount",
    "ps", "id",    "env", "sleep", "hostname", "ip",    "readlink",
};

// Since /usr was merged, these are links into /usr, see file-hierarchy(7).
constexpr const char* kBesideUsr[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

// Without these the loader does not find every library, and the C library does not resolve host
// names.
constexpr const char* kHostEtc[] = {"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
                                    "/etc/nsswitch.conf"};

struct Folder {
  const char* name;
  mode_t mode;
};
constexpr Folder kFolders[] = {
    {"dev", 0755}, {"etc", 0755}, {"home", 0755}, {"mnt", 0755}, {"proc", 0755}, {"root", 0700},
    {"run", 0755}, {"sys", 0755}, {"tmp", 01777}, {"usr", 0755}, {"var", 0755},
};

bool is_there(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0;
}

std::string find_program(const std::string& word) {
  if (word.empty()) throw Failure("the program's name is empty");
  if (word.find('/') != std::string::npos) {
    const std::string path = fs::absolute(word);
    struct stat st;
    if (stat(path.c_str(), &st) == -1) throw Failure(std::generic_category().message(errno));
    return path;
  }
  std::istringstream folders(kPath);
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string path = folder + "/" + word;
    if (access(path.c_str(), X_OK) == 0 && !fs::is_directory(path)) return path;
  }
  throw Failure(std::string("not in ") + kPath);
}

// Whether the file is in a copy of /usr and of the directories that on most hosts are links into
// it.
bool comes_with_usr(const std::string& path) {
  std::error_code error;
  const std::string file = fs::canonical(path, error);
  const auto is_in_copied_folder = [](const std::string& name) {
    return name.starts_with("/usr/") ||
           std::any_of(std::begin(kBesideUsr), std::end(kBesideUsr), [&](const char* folder) {
             return name.starts_with(std::string("/") + folder + "/");
           });
  };
  return !error && is_in_copied_folder(path) && is_in_copied_folder(file);
}

// The files to copy.
class Plan {
 public:
  explicit Plan(const UserspaceOptions& userspace);

  [[nodiscard]] const std::set<std::string>& paths() const { return paths_; }
  // "--userspace minimal --with /usr/bin/tree"
  [[nodiscard]] const std::string& request() const { return request_; }
  // Changes when a file has changed.
  [[nodiscard]] std::string key(const std::string& builtin) const;
  [[nodiscard]] std::uint64_t count_bytes(const std::string& builtin) const;

 private:
  void add(const std::string& path);
  void add_libraries_below(const std::string& folder);
  void add_interpreter(const std::string& path, const Script& script);

  std::string kind_;
  std::string request_;
  std::set<std::string> paths_;  // in order, so that the same files have the same key
};

Plan::Plan(const UserspaceOptions& userspace) : kind_(userspace.kind) {
  if (kind_ == "minimal") {
    for (const char* name : kMinimalPrograms) {
      std::string path;
      try {
        path = find_program(name);
      } catch (const Failure&) {
        continue;  // this host does not have it
      }
      add(path);
    }
  }
  const std::set<std::string> with(userspace.with.begin(), userspace.with.end());
  request_ = "--userspace " + kind_;
  for (const auto& path : with) {
    add(path);
    request_ += " --with " + path;
  }
  for (const char* path : kHostEtc) {
    if (is_there(path)) paths_.insert(path);
  }
  if (kind_ != "full") return;

  std::erase_if(paths_, comes_with_usr);
  if (is_there("/etc/alternatives"))
    paths_.insert("/etc/alternatives");  // links of /usr/bin lead to it
  paths_.insert("/usr");
  for (const std::string name : kBesideUsr) {
    if (is_there("/" + name) && !fs::is_symlink("/" + name)) paths_.insert("/" + name);
  }
}

void Plan::add(const std::string& path) {
  if (!paths_.insert(path).second) return;
  if (fs::is_directory(path)) return add_libraries_below(path);
  if (!fs::is_regular_file(path)) return;
  if (read_elf_file(path)) {
    for (auto& library : libraries_of(path)) paths_.insert(std::move(library));
  } else if (const auto script = read_script(path)) {
    add_interpreter(path, *script);
  }
}

// A file there that lacks a library, or is not a valid program, does not run on the host either.
void Plan::add_libraries_below(const std::string& folder) {
  const auto options = fs::directory_options::skip_permission_denied;
  for (const auto& entry : fs::recursive_directory_iterator(folder, options)) {
    std::error_code error;
    if (!entry.is_regular_file(error) || entry.is_symlink(error)) continue;
    try {
      const auto elf = read_elf_file(entry.path());
      if (!elf || !elf->native) continue;
      for (auto& library : libraries_of(entry.path())) paths_.insert(std::move(library));
    } catch (const Failure& failure) {
      trace(std::string("no libraries: ") + failure.what());
    }
  }
}

void Plan::add_interpreter(const std::string& path, const Script& script) {
  try {
    const std::string interpreter = find_program(script.interpreter);
    // A script that belongs to another user could name a file that only we may read: #!/etc/shadow.
    if (access(interpreter.c_str(), X_OK) == -1) {
      throw Failure(std::generic_category().message(errno));
    }
    if (!read_elf_file(interpreter) && !read_script(interpreter)) throw Failure("is not a program");
    add(interpreter);
    if (fs::path(script.interpreter).filename() != "env") return;
    // "#!/usr/bin/env -S python3 -B": env(1) runs the first word that is not one of its options.
    std::istringstream words(script.argument);
    for (std::string word; words >> word;) {
      if (word.starts_with("-") || word.find('=') != std::string::npos) continue;
      return add(find_program(word));
    }
  } catch (const Failure& failure) {
    throw Failure(path + ": its interpreter " + script.interpreter + ": " + failure.what());
  }
}

// The directories in which a package manager replaces files by rename(2), which changes the
// directories' times.
std::vector<std::string> folders_of_packages() {
  std::vector<std::string> folders = {"/usr"};
  for (const char* folder : {"/usr", "/usr/lib"}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.is_directory() && !entry.is_symlink()) folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

// Calls `look` for `path` and for everything below it.
void for_each_file(const std::string& path,
                   const std::function<void(const std::string&, const struct stat&)>& look) {
  struct stat st;
  if (stat(path.c_str(), &st) == -1) return;
  look(path, st);
  if (!S_ISDIR(st.st_mode)) return;
  std::error_code error;
  for (fs::recursive_directory_iterator
           it(path, fs::directory_options::skip_permission_denied, error),
       end;
       !error && it != end; it.increment(error)) {
    if (lstat(it->path().c_str(), &st) == 0) look(it->path(), st);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw Failure(error.value(), "read(" + path + ")");
  }
}

std::string Plan::key(const std::string& builtin) const {
  std::uint64_t sum = 0;
  const auto add_file = [&](const std::string& path, const struct stat& st) {
    const std::string text = fmt::format("{} {} {}.{} {}\n", path, st.st_size, st.st_mtim.tv_sec,
                                         st.st_mtim.tv_nsec, st.st_ino);
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
    for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
    sum += hash;  // a sum, because the files of a directory come in any order
  };
  for_each_file(builtin + "/etc", add_file);
  for (const auto& path : paths_) {
    if (path == "/usr") continue;  // a hundred thousand files are too many to check at each start
    for_each_file(path, add_file);
  }
  if (paths_.contains("/usr")) {
    struct stat st;
    for (const auto& folder : folders_of_packages()) {
      if (stat(folder.c_str(), &st) == 0) add_file(folder, st);
    }
  }
  return fmt::format("{:016x}", sum);
}

std::uint64_t Plan::count_bytes(const std::string& builtin) const {
  std::uint64_t bytes = 0;
  const auto add_file = [&](const std::string&, const struct stat& st) {
    if (S_ISREG(st.st_mode)) bytes += static_cast<std::uint64_t>(st.st_size);
  };
  if (kind_ == "none") for_each_file(builtin, add_file);
  for (const auto& path : paths_) for_each_file(path, add_file);
  return bytes;
}

// The new root must not be in a directory that is copied into it.
void refuse_to_hold(const UserspaceOptions& userspace, const std::string& root) {
  std::vector<std::string> copied = userspace.with;
  if (userspace.kind == "full") copied.push_back("/usr");
  for (const auto& path : copied) {
    const std::string folder = fs::canonical(path);
    if ((root + "/").starts_with(folder == "/" ? folder : folder + "/")) {
      throw Failure("cannot copy " + path + " into " + root + ", which is inside it",
                    "choose another directory with --rootfs DIR");
    }
  }
}

void make_folder(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == -1 && errno != EEXIST)
    throw Failure(errno, "mkdir(" + path + ")");
  check_quietly(chmod(path.c_str(), mode), "chmod({})", path);  // mkdir() obeys the umask
}

void write_new_file(const std::string& path, const std::string& text) {
  const UniqueFd fd(
      check_quietly(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644),
                    "open({})", path));
  write_all(fd.get(), text, path);
  check_quietly(fchmod(fd.get(), 0644), "chmod({})", path);
}

// The directories of every root. The device nodes, if the built-in root has some, are needed until
// stage 06 makes a /dev of its own.
void make_skeleton(Copier& copier, const std::string& root, const std::string& builtin) {
  for (const auto& folder : kFolders) make_folder(root + "/" + folder.name, folder.mode);
  for (const std::string name : {"dev", "etc"}) {
    if (is_there(builtin + "/" + name)) copier.copy_tree(builtin + "/" + name, name);
  }
}

void copy_links_beside_usr(Copier& copier) {
  for (const std::string name : kBesideUsr) {
    if (fs::is_symlink("/" + name)) copier.copy_tree("/" + name, name);
  }
}

void fill(Copier& copier, const std::string& kind, const Plan& plan, const std::string& root,
          const std::string& builtin) {
  if (kind == "none") {
    copier.copy_tree(builtin, ".");
  } else {
    make_skeleton(copier, root, builtin);
  }
  if (kind == "full") copy_links_beside_usr(copier);
  if (kind == "minimal") {
    for (const char* folder : {"/bin", "/sbin", "/lib", "/lib64"}) {
      if (is_there(folder)) copier.make_folder_with_links(folder);
    }
  }
  for (const auto& path : plan.paths()) {
    trace("copy " + path);
    copier.copy_with_links(path);
  }
  make_folder(root + "/etc", 0755);
  write_new_file(root + "/etc/userspace", plan.request() + "\n");
  check_quietly(chmod(root.c_str(), 0755), "chmod({})", root);
}

void build(const UserspaceOptions& userspace, const Plan& plan, const std::string& root,
           const std::string& builtin) {
  const auto start = std::chrono::steady_clock::now();
  Copied copied;
  {
    ProgressBar bar;
    if (bar.is_seen()) bar.set_total(plan.count_bytes(builtin));
    Copier copier(root, [&bar](const Copied& so_far) { bar.show(so_far.bytes); });
    try {
      fill(copier, userspace.kind, plan, root, builtin);
    } catch (const Failure& failure) {
      if (failure.error() != ENOSPC && failure.error() != EDQUOT) throw;
      throw Failure::reported(failure.error(), failure.what(), failure.exit_status(),
                              "the root needs " + format_bytes(plan.count_bytes(builtin)) +
                                  "; --rootfs DIR puts it on another file system");
    }
    copied = copier.copied();
  }
  const std::string line =
      userspace.program + ": " + summarize(copied, std::chrono::steady_clock::now() - start) + "\n";
  (void)!write(STDERR_FILENO, line.data(),
               line.size());  // if it cannot be printed, that is not a failure
}

// `directory` exists: was it built for the same request?
void refuse_other_than(const std::string& request, const std::string& directory) {
  std::string built_for = read_file(directory + "/etc/userspace");
  built_for = built_for.substr(0, built_for.find('\n'));
  if (built_for == request) return;
  throw Failure("--rootfs " + directory + ": already exists, and was not built by " + request +
                    (built_for.empty() ? "" : " but by " + built_for),
                "name a directory that does not exist yet, or remove this one");
}

// The path of the new root: absolute, and without links except perhaps the last name.
std::string absolute_place(const std::string& rootfs) {
  fs::path path = fs::absolute(rootfs).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "root/"
  std::error_code error;
  const fs::path parent = fs::canonical(path.parent_path(), error);
  if (!error && !fs::is_directory(parent)) error = std::make_error_code(std::errc::not_a_directory);
  if (!error && is_there(path) && !fs::is_directory(path)) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (error) throw Failure(error.value(), "--rootfs " + rootfs);
  return parent / path.filename();
}

}  // namespace

UserspaceOptions::UserspaceOptions(CommandLine& line) : program(line.program()) {
  line.add_option("--userspace", "none|full|minimal",
                  "fill the root with all of the host's programs, or with a few (default: none)",
                  [this](const std::string& word) {
                    if (word != "none" && word != "full" && word != "minimal") {
                      throw Failure("must be none, full or minimal");
                    }
                    kind = word;
                  });
  line.add_option("--with", "PROGRAM",
                  "add a program of the host with its libraries, or a directory (repeatable)",
                  [this](const std::string& word) { with.push_back(find_program(word)); });
}

std::string build_userspace(const UserspaceOptions& userspace, const RootOptions& rootfs,
                            const std::string& cache) {
  const bool builtin = rootfs.directory.empty();
  if (userspace.kind == "none" && userspace.with.empty() && !builtin) return find_root(rootfs);
  const std::string place = cache.empty() && builtin ? cache_of_roots() : cache;
  return build_userspace(userspace, rootfs.directory, place, [&] { return builtin_rootfs(place); });
}

std::string build_userspace(const UserspaceOptions& userspace, const std::string& rootfs,
                            const std::string& cache,
                            const std::function<std::string()>& builtin_rootfs) {
  if (userspace.kind == "none" && userspace.with.empty()) {
    return rootfs.empty() ? builtin_rootfs() : rootfs;
  }
  std::string path = rootfs.empty() ? "" : absolute_place(rootfs);
  const auto cached = [&] { return cache.empty() ? cache_directory() : cache; };
  refuse_to_hold(userspace, path.empty() ? cached() : path);
  const Plan plan(userspace);
  if (!path.empty() && is_there(path)) {
    refuse_other_than(plan.request(), path);
    return fs::canonical(path);
  }
  const std::string builtin = builtin_rootfs();
  if (path.empty()) {
    path = cached() + "/userspace-" + userspace.kind + "-" + plan.key(builtin);
  }
  build_once(path, [&](const std::string& partial) { build(userspace, plan, partial, builtin); });
  refuse_other_than(plan.request(), path);  // two processes may have built there at the same time
  return path;
}

}  // namespace box
