// Base as a real process, with a real but tiny site (testing/fake_site.cc): what the simulator
// cannot see, which is descriptors, signals, files and the kernel.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "common/crypto.h"
#include "common/version.h"
#include "net/async.h"
#include "net/fd.h"
#include "supervisor/detail/files.h"
#include "supervisor/releases.h"
#include "supervisor/run_base.h"
#include "supervisor/site_process.h"
#include "supervisor/state_file.h"
#include "update/core/manifest.h"

namespace everspan::supervisor {
namespace {

constexpr auto kPatience = std::chrono::seconds(15);  // Only a failing test waits so long.

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

struct Where {
  std::uint64_t generation = 0;
  std::uint32_t pid = 0;
};

class BaseProcess : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              ("ebase-" + random_id<NodeId>().hex().substr(0, 8));
    std::filesystem::create_directories(folder_);
    std::filesystem::permissions(folder_, std::filesystem::perms(0755));
    data_ = folder_ / "d";
    std::ofstream(folder_ / "password") << "a password of tests\n";
    std::filesystem::permissions(folder_ / "password", std::filesystem::perms(0600));
    first_start_ = {"--password-file", folder_ / "password"};
    port_ = free_port();
  }
  void TearDown() override {
    stop_base(SIGKILL);
    if (auto state = StateFile(data_ + "/base/state").load())
      for (const auto& slot : state->slots)
        if (slot.process)
          if (auto pidfd = find_process(*slot.process)) kill_process(*pidfd);
    std::filesystem::remove_all(folder_);
  }

  // A port that was free a moment ago: base keeps its number over restarts, so 0 will not do.
  static std::uint16_t free_port() {
    const net::Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in at{
        .sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
    socklen_t size = sizeof at;
    EXPECT_EQ(bind(s.get(), reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(getsockname(s.get(), reinterpret_cast<sockaddr*>(&at), &size), 0);
    return ntohs(at.sin_port);
  }
  std::string release_file(const std::string& behaviour) {
    const auto path = (folder_ / ("site-" + behaviour)).string();
    std::ofstream(path, std::ios::binary)
        << read_whole(EVERSPAN_FAKE_SITE) << std::string(40, '\n') << "BEHAVIOUR=" << behaviour;
    return path;
  }
  // Puts a release where base finds it at its next start.
  std::string stage_by_hand(const std::string& behaviour) {
    const auto bytes = read_whole(release_file(behaviour));
    update::Manifest manifest;
    manifest.kind = "site";
    manifest.version = *Version::parse("0.2.0");
    manifest.platform = update::host_platform();
    manifest.files.push_back(
        {.path = "everspan-site", .size = bytes.size(), .sha256 = sha256_hex(bytes), .mode = 0755});
    const auto text = update::write_manifest(manifest);
    const auto digest = sha256_hex(text);
    const auto dir = data_ + "/releases/" + digest;
    std::filesystem::create_directories(dir);
    std::ofstream(dir + "/manifest.json") << text;
    std::ofstream(dir + "/everspan-site", std::ios::binary) << bytes;
    std::filesystem::permissions(dir + "/everspan-site", std::filesystem::perms(0555));
    return digest;
  }
  void start_base() {
    std::vector<std::string> words = {"everspan-base",
                                      "--data",
                                      data_,
                                      "--listen",
                                      "127.0.0.1:" + std::to_string(port_),
                                      "--initial-release",
                                      release_file("ok"),
                                      "--heartbeat-ms",
                                      "50",
                                      "--ready-wait-ms",
                                      std::to_string(ready_wait_ms_)};
    words.insert(words.end(), first_start_.begin(), first_start_.end());
    base_ = fork();
    ASSERT_GE(base_, 0);
    if (base_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (freopen((folder_ / "out").c_str(), "a", stdout) == nullptr) _exit(99);
    if (getenv("EVERSPAN_TEST_LOUD") == nullptr && freopen("/dev/null", "w", stderr) == nullptr)
      _exit(99);
    std::vector<char*> argv;
    for (auto& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    _exit(run_base(static_cast<int>(words.size()), argv.data()));
  }
  int stop_base(int signal) {
    if (base_ <= 0) return -1;
    kill(base_, signal);
    int status = 0;
    waitpid(base_, &status, 0);
    base_ = 0;
    return status;
  }
  static bool wait_for(const std::function<bool()>& holds) {
    for (const auto end = net::now() + kPatience; net::now() < end;
         usleep(5000))  // lint: allow sleep because a condition is polled
      if (holds()) return true;
    return holds();
  }
  // Asks whoever accepts at the site's address. A refused connection gives {0, 0}.
  Where ask_site() {
    const net::Fd s(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    setsockopt(s.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in at{.sin_family = AF_INET,
                   .sin_port = htons(port_),
                   .sin_addr = {htonl(INADDR_LOOPBACK)},
                   .sin_zero = {}};
    if (connect(s.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return {};
    char line[128] = {};
    if (recv(s.get(), line, sizeof line - 1, 0) <= 0) return {};
    Where where;
    std::istringstream(line) >> where.generation >> where.pid;
    return where;
  }
  Where wait_serving(std::uint64_t least_generation) {
    Where where;
    wait_for([&] {
      where = ask_site();
      return where.generation >= least_generation;
    });
    EXPECT_GE(where.generation, least_generation);
    return where;
  }
  State state() {
    auto loaded = StateFile(data_ + "/base/state").load();
    return loaded ? *loaded : State{};
  }
  std::optional<Slot> slot(Role role) {
    for (const auto& each : state().slots)
      if (each.role == role && each.process) return each;
    return std::nullopt;
  }
  std::string command(std::uint32_t pid, const std::string& line) {
    const net::Fd s(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{.tv_sec = 15, .tv_usec = 0};
    setsockopt(s.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_un at{.sun_family = AF_UNIX, .sun_path = {}};
    (data_ + "/node/" + std::to_string(pid) + ".sock").copy(at.sun_path, sizeof at.sun_path - 1);
    if (connect(s.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
      return "no control socket";
    if (write(s.get(), line.data(), line.size()) < 0) return "not written";
    char answer[512] = {};
    return recv(s.get(), answer, sizeof answer - 1, 0) > 0 ? answer : "no answer";
  }
  // Of a base that refuses to start.
  int refused_status() {
    start_base();
    int status = 0;
    waitpid(base_, &status, 0);
    base_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string printed() { return read_whole(folder_ / "out"); }
  // First start with release ok, then once more so that base knows the second release.
  Where start_with(const std::string& behaviour) {
    start_base();
    auto first = wait_serving(1);
    EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
    other_ = stage_by_hand(behaviour);
    start_base();
    return wait_serving(first.generation + 1);
  }

  std::filesystem::path folder_;
  std::string data_;
  std::string other_;
  std::uint16_t port_ = 0;
  int ready_wait_ms_ = 15'000;
  std::vector<std::string> first_start_;  // Options of it.
  pid_t base_ = 0;
};

TEST_F(BaseProcess, first_start_makes_the_folders_and_serves) {
  start_base();
  const auto where = wait_serving(1);
  EXPECT_EQ(slot(Role::active)->process->pid, where.pid);
  struct stat info{};
  ASSERT_EQ(stat((data_ + "/base/state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(stat((data_ + "/base").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  if (geteuid() == 0) {
    ASSERT_EQ(stat(("/proc/" + std::to_string(where.pid)).c_str(), &info), 0);
    EXPECT_NE(info.st_uid, 0U) << "the site must not run as root";
  }
}

TEST_F(BaseProcess, site_gets_its_channel_and_no_descriptor_more) {
  start_base();
  const auto where = wait_serving(1);
  // 0, 1, 2, the channel, the listener, its control socket: nothing of base's.
  std::vector<std::string> kinds;
  for (const auto& each :
       std::filesystem::directory_iterator("/proc/" + std::to_string(where.pid) + "/fd"))
    kinds.push_back(std::filesystem::read_symlink(each.path()).string());
  for (const auto& kind : kinds)
    EXPECT_TRUE(kind.starts_with("socket:") || kind == "/dev/null" ||
                kind.starts_with(data_ + "/run/site-") || kind.starts_with("/proc/") ||
                kind.find("everspan-site") != kind.npos)
        << kind;
  EXPECT_LE(kinds.size(), 8U);
}

TEST_F(BaseProcess, switch_moves_the_right_and_keeps_the_old_one_until_good) {
  const auto old = start_with("ok2");
  EXPECT_EQ(command(old.pid, "request k1 start " + other_), "ok  \n");
  const auto candidate = slot(Role::candidate);
  ASSERT_TRUE(candidate);
  EXPECT_EQ(command(old.pid, "request k2 switch " + other_), "ok  \n");
  const auto now = wait_serving(old.generation + 1);
  EXPECT_EQ(now.pid, candidate->process->pid);
  EXPECT_EQ(now.generation, old.generation + 1);
  EXPECT_EQ(slot(Role::fallback)->process->pid, old.pid);
  // The same key again: answered, nothing done.
  EXPECT_EQ(command(now.pid, "request k2 switch " + other_), "ok  \n");
  EXPECT_EQ(state().generation, now.generation);
  EXPECT_EQ(command(now.pid, "request k3 good"), "ok  \n");
  EXPECT_TRUE(wait_for([&] { return kill(static_cast<pid_t>(old.pid), 0) != 0; }));
  EXPECT_EQ(wait_serving(now.generation).pid, now.pid);
}

TEST_F(BaseProcess, back_returns_to_the_old_process_in_order) {
  const auto old = start_with("ok2");
  EXPECT_EQ(command(old.pid, "request k1 start " + other_), "ok  \n");
  EXPECT_EQ(command(old.pid, "request k2 switch " + other_), "ok  \n");
  EXPECT_EQ(command(old.pid, "request k3 back"), "ok  \n");
  const auto now = wait_serving(old.generation + 2);
  EXPECT_EQ(now.pid, old.pid);
  EXPECT_EQ(state().last_switch, "went back: test");
  EXPECT_EQ(command(old.pid, "request k4 stop"), "ok  \n");
  EXPECT_FALSE(slot(Role::candidate));
}

TEST_F(BaseProcess, candidates_that_are_bad_fail_only_themselves) {
  ready_wait_ms_ = 4'000;  // The test waits for it once; a good one of a busy machine needs less.
  for (const std::string behaviour : {"exit", "hang"}) {
    const auto old = start_with(behaviour);
    const auto answer = command(old.pid, "request k-" + behaviour + " start " + other_);
    EXPECT_TRUE(answer.starts_with("failed candidate_failed")) << answer;
    EXPECT_FALSE(slot(Role::candidate));
    const auto now = ask_site();
    EXPECT_EQ(now.pid, old.pid);
    EXPECT_EQ(now.generation, old.generation);
    EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
    std::filesystem::remove_all(data_);
  }
}

TEST_F(BaseProcess, unhealthy_candidate_is_ended_and_cannot_be_switched_to) {
  const auto old = start_with("unhealthy");
  command(old.pid, "request k1 start " + other_);
  EXPECT_TRUE(wait_for([&] { return !slot(Role::candidate); }));
  EXPECT_TRUE(command(old.pid, "request k2 switch " + other_).starts_with("failed no_candidate"));
  EXPECT_EQ(ask_site().pid, old.pid);
}

TEST_F(BaseProcess, stopped_new_writer_is_killed_and_the_old_one_serves_again) {
  const auto old = start_with("sick");
  EXPECT_EQ(command(old.pid, "request k1 start " + other_), "ok  \n");
  const auto sick = slot(Role::candidate)->process->pid;
  EXPECT_TRUE(command(old.pid, "request k2 switch " + other_).starts_with("failed went_back"));
  const auto now = wait_serving(old.generation + 2);
  EXPECT_EQ(now.pid, old.pid);
  EXPECT_NE(kill(static_cast<pid_t>(sick), 0), 0);
  EXPECT_TRUE(state().last_switch.starts_with("went back: silent")) << state().last_switch;
}

TEST_F(BaseProcess, program_changed_on_disk_is_not_run) {
  const auto old = start_with("ok2");
  std::ofstream(data_ + "/releases/" + other_ + "/everspan-site", std::ios::app) << "x";
  const auto answer = command(old.pid, "request k1 start " + other_);
  EXPECT_TRUE(answer.starts_with("failed candidate_failed")) << answer;
  EXPECT_EQ(ask_site().pid, old.pid);
}

TEST_F(BaseProcess, killed_base_finds_its_sites_again_and_goes_on) {
  const auto old = start_with("ok2");
  EXPECT_EQ(command(old.pid, "request k1 start " + other_), "ok  \n");
  EXPECT_EQ(command(old.pid, "request k2 switch " + other_), "ok  \n");
  const auto before = wait_serving(old.generation + 1);
  stop_base(SIGKILL);
  EXPECT_EQ(ask_site().pid, before.pid) << "the site serves without its base";
  start_base();
  ASSERT_TRUE(wait_for([&] { return state().generation > before.generation; }));
  const auto after = wait_serving(before.generation + 1);
  EXPECT_EQ(after.pid, before.pid);
  EXPECT_EQ(slot(Role::fallback)->process->pid, old.pid);
  ASSERT_TRUE(wait_for([&] { return command(after.pid, "request k3 good") == "ok  \n"; }));
  // The listener came back: a crash of the site is survived behind the same address.
  kill(static_cast<pid_t>(after.pid), SIGKILL);
  const auto again = wait_serving(after.generation + 1);
  EXPECT_NE(again.pid, after.pid);
}

TEST_F(BaseProcess, site_that_died_while_base_was_away_is_started_again) {
  start_base();
  const auto before = wait_serving(1);
  stop_base(SIGKILL);
  kill(static_cast<pid_t>(before.pid), SIGKILL);
  start_base();
  EXPECT_NE(wait_serving(before.generation + 1).pid, before.pid);
}

TEST_F(BaseProcess, clean_stop_ends_the_site_and_keeps_the_slots) {
  start_base();
  const auto before = wait_serving(1);
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  EXPECT_NE(kill(static_cast<pid_t>(before.pid), 0), 0);
  EXPECT_EQ(state().slots.size(), 1U);
  EXPECT_EQ(state().holder, 0U);
}

TEST_F(BaseProcess, joining_node_serves_without_a_site_and_says_what_to_do) {
  first_start_ = {"--join"};
  start_base();
  const auto where = wait_serving(1);
  EXPECT_TRUE(command(where.pid, "where").ends_with(" join\n"));
  EXPECT_FALSE(detail::exists(data_ + "/base/site-made"));
  ASSERT_TRUE(wait_for([&] { return printed().find("failover establish") != std::string::npos; }));
  EXPECT_NE(printed().find(data_ + "/node/inter-appliance.key"), std::string::npos);
  EXPECT_NE(printed().find("--backup 127.0.0.1:" + std::to_string(port_)), std::string::npos);
  EXPECT_EQ(printed().find("assword"), std::string::npos);
}

TEST_F(BaseProcess, joining_node_goes_on_joining_after_a_restart_and_ends_it_when_its_site_came) {
  first_start_ = {"--join"};
  start_base();
  auto where = wait_serving(1);
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  first_start_ = {};  // As a service's file without the option.
  start_base();
  where = wait_serving(where.generation + 1);
  EXPECT_TRUE(command(where.pid, "where").ends_with(" join\n"));
  command(where.pid, "site");
  ASSERT_TRUE(wait_for([&] { return read_whole(data_ + "/base/site-made") == "joined\n"; }));
  EXPECT_TRUE(wait_for([&] { return !detail::exists(data_ + "/base/joining"); }));
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  first_start_ = {"--join"};  // Or with it.
  start_base();
  where = wait_serving(where.generation + 1);
  EXPECT_FALSE(command(where.pid, "where").ends_with("join\n"));
}

TEST_F(BaseProcess, join_is_refused_where_a_site_was_made_and_a_site_where_one_joins) {
  start_base();
  const auto where = wait_serving(1);
  ASSERT_TRUE(wait_for([&] { return detail::exists(data_ + "/base/site-made"); }));
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  first_start_ = {"--join"};
  EXPECT_EQ(refused_status(), 3);
  first_start_ = {};
  start_base();
  EXPECT_TRUE(command(wait_serving(where.generation + 1).pid, "where").find("join") ==
              std::string::npos);
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);

  std::filesystem::remove_all(data_);
  first_start_ = {"--join"};
  start_base();
  wait_serving(1);
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  first_start_ = {"--site", "Mine"};
  EXPECT_EQ(refused_status(), 3);
  EXPECT_TRUE(detail::exists(data_ + "/base/joining"));
}

TEST_F(BaseProcess, join_with_options_of_a_new_site_is_a_usage_error) {
  first_start_ = {"--join", "--admin", "ann"};
  EXPECT_EQ(refused_status(), 2);
  EXPECT_FALSE(std::filesystem::exists(data_));
}

TEST_F(BaseProcess, log_of_an_unfinished_first_start_is_not_joined_over) {
  start_base();
  wait_serving(1);
  ASSERT_TRUE(wait_for([&] { return detail::exists(data_ + "/base/site-made"); }));
  EXPECT_EQ(WEXITSTATUS(stop_base(SIGTERM)), 0);
  std::filesystem::remove(data_ + "/base/site-made");
  // lint: allow log-by-sqlite-only because it is no log, only a file of its name
  std::ofstream(data_ + "/log.db") << "x";
  first_start_ = {"--join"};
  EXPECT_EQ(refused_status(), 3);
  EXPECT_FALSE(detail::exists(data_ + "/base/joining"));
}

TEST_F(BaseProcess, second_base_on_one_folder_is_refused) {
  start_base();
  const auto before = wait_serving(1);
  const auto first = base_;
  start_base();
  int status = 0;
  waitpid(base_, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 3);
  base_ = first;
  EXPECT_EQ(ask_site().pid, before.pid);
}

}  // namespace
}  // namespace everspan::supervisor
