// One run of store_log_process (log_process.cc), which can be killed and stopped.
#pragma once
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace everspan::store {

class Process {
 public:
  explicit Process(const std::vector<std::string>& arguments) {
    const std::string program =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "store_log_process";
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (const std::string& it : arguments) argv.push_back(const_cast<char*>(it.c_str()));
    argv.push_back(nullptr);
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    EXPECT_EQ(::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    output_ = ::fdopen(ends[0], "r");
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ > 0) end();
    std::fclose(output_);
  }

  // Empty: the process has closed its output.
  std::string line() {
    char buffer[256];
    if (std::fgets(buffer, sizeof buffer, output_) == nullptr) return {};
    std::string text = buffer;
    if (!text.empty() && text.back() == '\n') text.pop_back();
    if (text.starts_with("A ")) {
      const auto space = text.rfind(' ');
      acknowledged_[text.substr(2, space - 2)] = std::stoull(text.substr(space + 1));
    } else if (text.starts_with("R ")) {
      refusals_.insert(text.substr(2));
    } else if (text.starts_with("E ")) {
      ADD_FAILURE() << text;
    }
    return text;
  }
  void read_acknowledgements(std::size_t count) {
    while (acknowledged_.size() < count && !line().empty()) {
    }
    ASSERT_GE(acknowledged_.size(), count);
  }
  void signal(int number) { ASSERT_EQ(::kill(pid_, number), 0); }
  void stop() {
    signal(SIGSTOP);
    int status = 0;
    ASSERT_EQ(::waitpid(pid_, &status, WUNTRACED), pid_);
    ASSERT_TRUE(WIFSTOPPED(status));
  }
  void end() {
    ::kill(pid_, SIGKILL);
    wait();
  }
  // Reads what it still said; returns its exit status, or -1 when it was killed.
  int wait() {
    while (!line().empty()) {
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] const std::map<std::string, std::uint64_t>& acknowledged() const {
    return acknowledged_;
  }
  [[nodiscard]] const std::set<std::string>& refusals() const { return refusals_; }

 private:
  pid_t pid_ = -1;
  FILE* output_ = nullptr;
  std::map<std::string, std::uint64_t> acknowledged_;
  std::set<std::string> refusals_;
};

}  // namespace everspan::store
