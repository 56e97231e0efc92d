#include "stages/08c_network/janitor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/check.h"

namespace box {
namespace {

class Pipe {
 public:
  Pipe() {
    int ends[2];
    check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  // Everything that was written, once no process can write any more.
  std::string read_all() {
    write_end.close();
    std::string text;
    char part[100];
    ssize_t size = 0;
    while ((size = read(read_end.get(), part, sizeof part)) > 0) {
      text.append(part, static_cast<std::size_t>(size));
    }
    return text;
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

void write_to(const Pipe& pipe, const std::string& text) {
  check_quietly(write(pipe.write_end.get(), text.data(), text.size()), "write()");
}

class Writes : public Janitor::Work {
 public:
  explicit Writes(const Pipe& pipe) : pipe_(pipe) {}
  [[nodiscard]] std::vector<int> descriptors() const override { return {pipe_.write_end.get()}; }
  // Afterwards it has no descriptors any more; as its parent does clean_up(), too, it may.
  void stop() override { write_to(pipe_, "stop,"); }
  void clean_up(const std::string& note) override {
    if (getpid() == in_parent) write_to(pipe_, "in the parent: " + note);
    if (!file.empty()) {
      const UniqueFd made(open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
      (void)!write(made.get(), note.data(), note.size());
    }
  }
  pid_t in_parent = -1;
  std::string file;

 private:
  const Pipe& pipe_;
};

std::string text_in(const std::string& path) {
  for (int i = 0; i < 500; ++i) {
    std::ifstream file(path);
    std::string text;
    if (std::getline(file, text)) return text;
    usleep(10'000);
  }
  return "";
}

std::string new_path() { return testing::TempDir() + "janitor-" + std::to_string(getpid()); }

// Of a process that has just been made, once there are so many.
bool gets_descriptors(const std::string& process, std::ptrdiff_t count) {
  for (int i = 0; i < 500; ++i) {
    const std::filesystem::directory_iterator all("/proc/" + process + "/fd");
    if (std::distance(begin(all), end(all)) == count) return true;
    usleep(10'000);
  }
  return false;
}

TEST(Janitor, HasNoDescriptorButThoseThatItNeeds) {
  const Pipe other;
  const Pipe pipe;  // whose other end is the one before
  const Pipe another;
  const Janitor janitor(std::make_shared<Writes>(pipe));
  const std::string process = text_in(fmt::format("/proc/self/task/{}/children", getpid()));
  EXPECT_TRUE(gets_descriptors(process.substr(0, process.find(' ')), 5))
      << "0, 1, 2, its parent's and the pipe's";
}

TEST(Janitor, CleansUpAfterItsParentHasFinished) {
  const Pipe pipe;
  auto work = std::make_shared<Writes>(pipe);
  work->file = new_path() + "-1";
  {
    Janitor janitor(work);
    janitor.note("hood6");
    janitor.note("hood7");
  }
  EXPECT_EQ(text_in(work->file), "hood7") << "the last note counts";
}

TEST(Janitor, ItsParentWaitsUntilItHasStopped) {
  Pipe pipe;
  { const Janitor janitor(std::make_shared<Writes>(pipe)); }
  (void)fcntl(pipe.read_end.get(), F_SETFL, O_NONBLOCK);
  char text[10] = {};
  EXPECT_EQ(read(pipe.read_end.get(), text, sizeof text), 5) << "at once";
}

TEST(Janitor, CleansUpWhenItsParentIsKilled) {
  Pipe pipe;
  auto work = std::make_shared<Writes>(pipe);
  work->file = new_path() + "-2";
  const pid_t parent = check_quietly(fork(), "fork()");
  if (parent == 0) {
    Janitor janitor(work);
    janitor.note("x");
    (void)raise(SIGKILL);
  }
  EXPECT_EQ(pipe.read_all(), "stop,");
  EXPECT_EQ(text_in(work->file), "x");
  EXPECT_EQ(waitpid(parent, nullptr, 0), parent);
}

// Of this process: whether it has this descriptor.
class Looks : public Writes {
 public:
  Looks(const Pipe& pipe, int other) : Writes(pipe), other_(other) {}
  void stop() override { file += fcntl(other_, F_GETFD) == -1 ? "-closed" : "-open"; }

 private:
  int other_;
};

TEST(Janitor, HasNoDescriptorsOfItsParent) {
  const Pipe pipe;
  const Pipe other;
  auto work = std::make_shared<Looks>(pipe, other.write_end.get());
  work->file = new_path() + "-3";
  {
    Janitor janitor(work);
    janitor.note("x");
  }
  EXPECT_EQ(text_in(new_path() + "-3-closed"), "x");
}

pid_t child_of_this_process() {
  std::ifstream file("/proc/self/task/" + std::to_string(getpid()) + "/children");
  pid_t child = -1;
  file >> child;
  return child;
}

TEST(Janitor, IfItIsKilledItsParentCleansUp) {
  Pipe pipe;
  auto work = std::make_shared<Writes>(pipe);
  work->in_parent = getpid();
  {
    while (waitpid(-1, nullptr, 0) > 0) {
    }  // those of other tests
    Janitor janitor(work);
    janitor.note("x");
    (void)kill(child_of_this_process(), SIGKILL);
  }
  EXPECT_EQ(pipe.read_all(), "in the parent: x");
}

TEST(Janitor, IfItHasEndedANoteFails) {
  const Pipe pipe;
  while (waitpid(-1, nullptr, 0) > 0) {
  }
  Janitor janitor(std::make_shared<Writes>(pipe));
  const pid_t pid = child_of_this_process();
  (void)kill(pid, SIGKILL);
  siginfo_t info = {};
  (void)waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT);
  EXPECT_THROW(janitor.note("x"), Failure) << "and no SIGPIPE";
}

}  // namespace
}  // namespace box
