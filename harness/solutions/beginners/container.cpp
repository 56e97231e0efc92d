// A class around fork(2): user namespace, maps, and errors as exceptions.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

class Container {
 public:
  Container(std::string root, char** command) : root_(std::move(root)), command_(command) {}

  int run() {
    uid_t uid = getuid();
    gid_t gid = getgid();
    check(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID),
          "unshare");
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
    pid_t pid = fork();
    if (pid == 0) {
      child();
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  }

 private:
  void child() {
    check(sethostname("container", 9), "sethostname");
    check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "private");
    check(chroot(root_.c_str()), "chroot");
    check(chdir("/"), "chdir");
    check(mount("proc", "/proc", "proc", 0, nullptr), "mount proc");
    setenv("PATH", "/bin:/usr/bin", 1);
    execvp(command_[0], command_);
    throw std::runtime_error("cannot run " + std::string(command_[0]));
  }

  static void check(int result, const std::string& what) {
    if (result == -1) throw std::runtime_error(what + ": " + std::strerror(errno));
  }

  std::string root_;
  char** command_;
};

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: " << argv[0] << " run ROOT COMMAND" << std::endl;
    return 1;
  }
  try {
    return Container(argv[2], argv + 3).run();
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << std::endl;
    return 1;
  }
}
