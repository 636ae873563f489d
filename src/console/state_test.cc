#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "console/state_codec.h"
#include "console/state_file.h"

namespace everspan::console {
namespace {

class ConsoleState : public testing::Test {
 protected:
  ConsoleState() {
    std::string name = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/state";
  }
  ~ConsoleState() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  std::string path_;
};

TEST_F(ConsoleState, SurvivesItsProcessAndIsClosedToOthers) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto file = StateFile::create(path_);
    if (!file) _exit(1);
    for (int i = 0; i <= 1000; ++i) (*file)->write("state " + std::to_string(i));
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  auto file = StateFile::open(path_);
  ASSERT_TRUE(file) << file.error().text();
  EXPECT_EQ((*file)->read().value(), "state 1000");
  struct stat info{};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_EQ(StateFile::open(path_).error().code, "in_use");
  (*file)->remove();
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
}

TEST_F(ConsoleState, OneThatIsThereIsNotOverwritten) {
  ASSERT_TRUE(StateFile::create(path_));
  EXPECT_EQ(StateFile::create(path_).error().code, "no_file");
}

TEST_F(ConsoleState, AnotherFileOrAnEmptyStateIsRefused) {
  EXPECT_EQ(StateFile::open(path_).error().code, "no_file");
  auto file = StateFile::create(path_);
  ASSERT_TRUE(file);
  EXPECT_EQ((*file)->read().error().code, "bad_state");
  (*file).reset();
  std::filesystem::resize_file(path_, 100);
  EXPECT_EQ(StateFile::open(path_).error().code, "bad_state");
}

TEST_F(ConsoleState, ComesBackAsItWas) {
  SavedConsole saved{.key_seed = std::string(32, 'k'), .no_terminal = true, .exit = 130};
  saved.session.generation_used = 9;
  saved.session.highest_odd = 3;
  saved.session.control_backlog = "rest";
  saved.session.candidates = {{"host", 1, "node"}};
  saved.session.unheard = {"message"};
  saved.input = {.taken = 5, .device = 6, .inode = 7, .offset = 8};
  saved.session.channels.push_back({.number = 1,
                                    .closed_sent = true,
                                    .bytes = {.kept = "abc",
                                              .finished = true,
                                              .base = 7,
                                              .sent_max = 11,
                                              .acked = 7,
                                              .recorded = 8,
                                              .consumed = 5,
                                              .advertised = 70000}});
  const auto back = decode_console(encode_console(saved));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->session.channels[0].bytes, saved.session.channels[0].bytes);
  EXPECT_TRUE(back->session.channels[0].closed_sent);
  EXPECT_EQ(back->session.generation_used, 9U);
  EXPECT_EQ(back->session.candidates, saved.session.candidates);
  EXPECT_EQ(back->session.unheard, saved.session.unheard);
  EXPECT_EQ(back->input, saved.input);
  EXPECT_EQ(back->exit, 130);
  EXPECT_TRUE(back->no_terminal);
}

TEST_F(ConsoleState, NumbersThatCannotBeAreRefused) {
  SavedConsole saved;
  saved.session.channels.push_back({.number = 1, .bytes = {.kept = "abc", .sent_max = 5}});
  EXPECT_EQ(decode_console(encode_console(saved)).error().code, "bad_state");
}

}  // namespace
}  // namespace everspan::console
