#include <fcntl.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <memory>
#include <queue>

#include "load/message.h"
#include "load/sides.h"

extern char** environ;

namespace load {
namespace {

constexpr std::uint64_t kControlTag = ~0ULL;  // epoll tag of standard input
constexpr std::uint64_t kWriteBit = 1ULL << 32;
constexpr std::int64_t kEndingNs = 5'000'000'000;  // from the end of its output to its exit

struct Session {
  Session(std::string session_name, std::uint64_t seed)
      : name(std::move(session_name)), sender(name, "c2a", seed), receiver(name, "a2c") {}
  std::string name;
  Sender sender;
  Receiver receiver;
  pid_t pid = -1;
  int in = -1, out = -1;  // Our ends: we write `in`, we read `out`.
  bool up = false, last_made = false, over = false, watching_write = false;
  std::int64_t output_ended_ns = 0;
};

class Console {
 public:
  explicit Console(const Options& options)
      : options_(options), evidence_(options.evidence), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  int run();

 private:
  using Due = std::pair<std::int64_t, std::uint32_t>;
  [[nodiscard]] std::int64_t interval_ns() const { return options_.interval_ms * 1'000'000LL; }
  void open_next();
  void take_control();
  void take_due(std::int64_t now);
  void take_output(Session& session, std::uint32_t index);
  void push(Session& session, std::uint32_t index);
  void close_input(Session& session);
  void finish(Session& session);
  void settle();
  void record_end(Session& session, int status);
  int wait_ms(std::int64_t now) const;

  const Options& options_;
  Evidence evidence_;
  int epoll_;
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<Session*> ending_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  std::uint32_t opening_ = 0, up_ = 0, over_ = 0, clean_ = 0;
  bool stopping_ = false;
  std::int64_t stop_deadline_ = 0;
};

void watch(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t tag) {
  epoll_event event{.events = events, .data = {.u64 = tag}};
  if (epoll_ctl(epoll, operation, fd, &event) != 0) std::perror("epoll_ctl");
}

// Starts argv with pipes; both our ends are non-blocking.
pid_t spawn(const std::vector<std::string>& argv, const std::string& errors, int& in, int& out) {
  int down[2], up[2];
  if (pipe2(down, O_CLOEXEC) != 0 || pipe2(up, O_CLOEXEC) != 0) return -1;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, down[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, up[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors.c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(down[0]);
  close(up[1]);
  in = down[1];
  out = up[0];
  for (const int fd : {in, out}) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return error == 0 ? pid : -1;
}

std::string replaced(std::string text, const std::string& word, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += by.size()) {
    text.replace(at, word.size(), by);
  }
  return text;
}

void Console::open_next() {
  const auto index = static_cast<std::uint32_t>(sessions_.size());
  const std::uint64_t seed = options_.seed * 1'000'003 + index * 2;
  sessions_.push_back(
      std::make_unique<Session>(options_.prefix + "-" + std::to_string(index), seed));
  Session& session = *sessions_.back();
  std::vector<std::string> argv;
  for (const std::string& word : options_.command) {
    argv.push_back(
        replaced(replaced(word, "{session}", session.name), "{seed}", std::to_string(seed + 1)));
  }
  ++opening_;
  session.pid = spawn(argv, options_.errors, session.in, session.out);
  evidence_.event(session.name, "opening", "\"pid\":" + std::to_string(session.pid));
  if (session.pid < 0) {
    finish(session);
    return;
  }
  watch(epoll_, EPOLL_CTL_ADD, session.out, EPOLLIN, index);
  watch(epoll_, EPOLL_CTL_ADD, session.in, 0, index | kWriteBit);
}

void Console::take_control() {
  char buffer[64];
  const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
  const bool stop =
      got <= 0 || std::string_view(buffer, static_cast<std::size_t>(got)).find("stop") !=
                      std::string_view::npos;
  if (!stop || stopping_) return;
  epoll_ctl(epoll_, EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
  stopping_ = true;
  stop_deadline_ = monotonic_ns() + options_.finish_s * 1'000'000'000LL;
  evidence_.event(options_.prefix, "stop_asked", "");
  for (std::uint32_t i = 0; i < sessions_.size(); ++i) {
    if (sessions_[i]->in >= 0) push(*sessions_[i], i);
  }
}

// Writes what is pending; after "stop" also the last message of this direction, once.
void Console::push(Session& session, std::uint32_t index) {
  bool open = session.sender.write_to(session.in, evidence_);
  if (open && stopping_ && session.up && !session.last_made && session.sender.idle()) {
    session.last_made = true;
    session.sender.make(Kind::last);
    open = session.sender.write_to(session.in, evidence_);
  }
  if (!open) {
    close_input(session);
    return;
  }
  const bool wanted = !session.sender.idle();
  if (wanted == session.watching_write) return;
  session.watching_write = wanted;
  watch(epoll_, EPOLL_CTL_MOD, session.in, wanted ? std::uint32_t{EPOLLOUT} : 0, index | kWriteBit);
}

void Console::close_input(Session& session) {
  if (session.in < 0) return;
  close(session.in);
  session.in = -1;
}

void Console::take_due(std::int64_t now) {
  while (!due_.empty() && due_.top().first <= now) {
    const auto [at, index] = due_.top();
    due_.pop();
    Session& session = *sessions_[index];
    if (session.in < 0 || stopping_) continue;
    if (session.sender.idle()) session.sender.make(Kind::data);
    push(session, index);
    due_.emplace(std::max(at + interval_ns(), now), index);
  }
}

void Console::take_output(Session& session, std::uint32_t index) {
  if (session.receiver.read_from(session.out, evidence_) == Receiver::Read::end) {
    finish(session);
    return;
  }
  if (session.up || session.receiver.received() == 0) return;
  session.up = true;
  ++up_;
  --opening_;
  evidence_.event(session.name, "opened", "");
  due_.emplace(monotonic_ns() + static_cast<std::int64_t>(session.sender.random_below(
                                    static_cast<std::size_t>(interval_ns()) + 1)),
               index);
  if (stopping_) push(session, index);
  if (up_ == options_.sessions) {
    std::printf("ready %u\n", up_);
    std::fflush(stdout);
  }
}

// The child closed its output, so it is ending: settle() records how, once it has ended.
void Console::finish(Session& session) {
  if (session.output_ended_ns != 0) return;
  session.output_ended_ns = monotonic_ns();
  session.receiver.finish(evidence_);
  close_input(session);
  if (session.out >= 0) close(session.out);
  ending_.push_back(&session);
}

void Console::settle() {
  std::erase_if(ending_, [this](Session* session) {
    int status = -1;
    if (session->pid > 0 && waitpid(session->pid, &status, WNOHANG) == 0) {
      // One that closed its output and stays is ended here, and shows as not clean.
      if (monotonic_ns() - session->output_ended_ns > kEndingNs) kill(session->pid, SIGKILL);
      return false;
    }
    record_end(*session, status);
    return true;
  });
}

void Console::record_end(Session& session, int status) {
  session.over = true;
  ++over_;
  if (!session.up) --opening_;
  const bool clean = session.last_made && session.receiver.saw_last() && status == 0;
  if (clean) ++clean_;
  const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  evidence_.event(session.name, "closed",
                  std::string(R"("asked":)") + (session.last_made ? "true" : "false") +
                      R"(,"opened":)" + (session.up ? "true" : "false") + R"(,"clean":)" +
                      (clean ? "true" : "false") + R"(,"status":)" + std::to_string(exit_status));
  if (!clean) {
    std::printf("%s %s\n", session.up ? "dropped" : "failed", session.name.c_str());
    std::fflush(stdout);
  }
}

int Console::wait_ms(std::int64_t now) const {
  std::int64_t until = now + (ending_.empty() ? 200'000'000 : 5'000'000);
  if (!due_.empty()) until = std::min(until, due_.top().first);
  return static_cast<int>(std::max<std::int64_t>((until - now + 999'999) / 1'000'000, 0));
}

int Console::run() {
  std::signal(SIGPIPE, SIG_IGN);
  watch(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, kControlTag);
  while (!stopping_ || over_ < sessions_.size()) {
    while (!stopping_ && sessions_.size() < options_.sessions && opening_ < options_.opening_max) {
      open_next();
    }
    epoll_event events[64];
    const int count = epoll_wait(epoll_, events, 64, wait_ms(monotonic_ns()));
    for (int i = 0; i < count; ++i) {
      const std::uint64_t tag = events[i].data.u64;
      if (tag == kControlTag) {
        take_control();
        continue;
      }
      const auto index = static_cast<std::uint32_t>(tag & 0xffffffffU);
      Session& session = *sessions_[index];
      if (session.output_ended_ns != 0) continue;
      if ((tag & kWriteBit) == 0) {
        take_output(session, index);
      } else if ((events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
        close_input(session);  // The child no longer reads; its output will end too.
      } else {
        push(session, index);
      }
    }
    take_due(monotonic_ns());
    settle();
    if (evidence_.due()) evidence_.flush();
    if (stopping_ && monotonic_ns() > stop_deadline_) {
      for (const auto& session : sessions_) {
        if (session->over) continue;
        if (session->pid <= 0) continue;
        kill(session->pid, SIGKILL);  // Asked, and not ended in time: shows as not clean.
        finish(*session);
      }
    }
  }
  evidence_.flush();
  std::printf("closed %u %u\n", clean_, static_cast<unsigned>(sessions_.size()));
  return clean_ == options_.sessions ? 0 : 1;
}

}  // namespace

int run_console(const Options& options) {
  return Console(options).run();
}

}  // namespace load
