#include "supervisor/base_server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "common/crypto.h"
#include "common/log.h"
#include "net/async.h"
#include "net/socket.h"
#include "supervisor/detail/base_state.h"
#include "supervisor/detail/files.h"

namespace everspan::supervisor {
namespace {

constexpr int kMessagesAtOnce = 256;  // Of one channel, before the others get their turn.
constexpr Duration kStrangerWait = std::chrono::seconds(2);
constexpr std::size_t kStrangersMax = 16;
constexpr Duration kPollMost = std::chrono::seconds(1);

Result<net::Fd> lock_folder(const Layout& layout) {
  net::Fd lock(open((layout.base() + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return fail_errno("io", "Opening " + layout.base() + "/lock", errno);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    return fail("already_running", "Another everspan-base runs on " + layout.data, "",
                "Stop it first, or name another --data");
  return lock;
}

Result<net::Fd> open_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return fail_errno("io", "sigprocmask", errno);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  net::Fd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return fail_errno("io", "signalfd", errno);
  return fd;
}

void remove_leftovers(const Layout& layout) {
  std::error_code error;
  for (const auto& folder : {layout.run(), layout.releases()})
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      const auto name = entry.path().filename().string();
      if (!name.starts_with("stage-") && !name.starts_with(".fresh-")) continue;
      if (auto gone = detail::remove_tree(entry.path().string()); !gone)
        log_warning("base.left_behind", {{"path", name}, {"why", gone.error().text()}});
    }
}

}  // namespace

BaseServer::BaseServer() = default;
BaseServer::~BaseServer() = default;

Result<std::unique_ptr<BaseServer>> BaseServer::open(BaseOptions options) {
  auto lock = lock_folder(options.layout);
  if (!lock) return fail(lock);
  auto signals = open_signals();
  if (!signals) return fail(signals);
  remove_leftovers(options.layout);
  const Releases releases(options.layout);
  auto known = releases.list();
  if (!known) return fail(known);
  const StateFile file(options.layout.state());
  auto stored = file.load();
  if (!stored) return fail(stored);
  std::string first;
  if (stored->slots.empty()) {
    auto imported = releases.import(options.initial_release);
    if (!imported) return fail(imported);
    first = imported->digest;
    known->push_back(*imported);
  }
  auto socket = net::MessageSocket::listen(options.layout.base_socket());
  if (!socket) return fail(socket);
  if (options.user.separate &&
      chown(options.layout.base_socket().c_str(), options.user.uid, options.user.gid) != 0)
    return fail_errno("io", "Owner of " + options.layout.base_socket(), errno);

  std::unique_ptr<BaseServer> server(new BaseServer());
  server->state_ = std::make_unique<State>(std::move(options), std::move(*stored), net::now());
  auto& s = *server->state_;
  s.lock = std::move(*lock);
  s.signals = std::move(*signals);
  s.base_socket = std::move(*socket);
  s.find_processes();
  if (!s.waits_for_listeners()) {
    if (auto bound = s.bind_listeners(); !bound) return fail(bound);
  }
  for (auto& release : *known) s.tell(ReleaseKnown{release});
  if (!first.empty()) s.tell(FirstRelease{first});
  s.handle_told();
  return server;
}

int BaseServer::run() {
  auto& s = *state_;
  while (!s.done) s.turn();
  return s.exit_status;
}

// One turn of the loop: messages first, then deaths (B2), then time.
void BaseServer::State::turn() {
  std::vector<pollfd> polls;
  polls.push_back({.fd = signals.get(), .events = POLLIN, .revents = 0});
  polls.push_back({.fd = base_socket.get(), .events = POLLIN, .revents = 0});
  for (const auto& stranger : strangers)
    polls.push_back({.fd = stranger.socket.fd(), .events = POLLIN, .revents = 0});
  for (const auto& [id, p] : processes) {
    polls.push_back({.fd = p.pidfd.get(), .events = POLLIN, .revents = 0});
    if (!p.channel) continue;
    const short events = static_cast<short>(POLLIN | (p.unsent.empty() ? 0 : POLLOUT));
    polls.push_back({.fd = p.channel->fd(), .events = events, .revents = 0});
  }
  for (const auto& job : stage_jobs)
    polls.push_back({.fd = job.pidfd.get(), .events = POLLIN, .revents = 0});
  for (const auto& job : self_tests)
    polls.push_back({.fd = job.process.pidfd.get(), .events = POLLIN, .revents = 0});
  const auto wait = std::clamp(core.wake_at() - net::now(), Duration{}, kPollMost);
  const int wait_ms = static_cast<int>((wait.count() + 999) / 1000);
  if (poll(polls.data(), polls.size(), wait_ms) < 0 && errno != EINTR) {
    log_error("base.poll", {{"errno", std::to_string(errno)}});
    done = true;
    exit_status = 1;
    return;
  }
  const auto ready = [&](int fd) {
    return std::ranges::any_of(polls,
                               [&](const pollfd& p) { return p.fd == fd && p.revents != 0; });
  };
  if (ready(signals.get())) take_signals();
  if (ready(base_socket.get())) take_stranger();
  hear_strangers();
  std::vector<InstanceId> ids;
  for (const auto& [id, p] : processes) ids.push_back(id);
  for (const auto id : ids) {
    if (!processes.contains(id)) continue;
    const bool dead = ready(processes.at(id).pidfd.get());
    hear(id);
    if (dead) bury(id);
  }
  std::erase_if(stage_jobs, [&](StageJob& job) {
    if (!ready(job.pidfd.get())) return false;
    tell(finish_stage(job));
    return true;
  });
  std::erase_if(self_tests, [&](SelfTestJob& job) {
    if (net::now() >= job.deadline && !job.late) {
      job.late = true;
      kill_process(job.process.pidfd);
    }
    if (!ready(job.process.pidfd.get())) return false;
    tell(finish_self_test(job));
    return true;
  });
  tell(TimePassed{});
  handle_told();
}

void BaseServer::State::take_signals() {
  signalfd_siginfo info{};
  while (read(signals.get(), &info, sizeof info) == sizeof info) {
    if (stopping) continue;
    stopping = true;
    log_info("base.stopping", {{"signal", std::to_string(info.ssi_signo)}});
    for (auto& job : stage_jobs) kill_stage(job);
    stage_jobs.clear();
    tell(StopAll{});
  }
}

void BaseServer::State::take_stranger() {
  net::Fd socket(accept4(base_socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;  // It hung up again; poll tells of the next one.
  if (strangers.size() >= kStrangersMax) strangers.erase(strangers.begin());
  strangers.push_back(
      {.socket = net::MessageSocket(std::move(socket)), .deadline = net::now() + kStrangerWait});
}

void BaseServer::State::hear_strangers() {
  std::erase_if(strangers, [&](Stranger& stranger) {
    auto message = stranger.socket.receive_now();
    if (!message) return message.error().code != "would_block" || net::now() >= stranger.deadline;
    auto parsed = parse_from_site(0, message->bytes);
    const auto* hello = parsed ? std::get_if<Hello>(&*parsed) : nullptr;
    if (hello != nullptr) welcome_back(*hello, std::move(message->fds), std::move(stranger.socket));
    return true;
  });
}

// A site that outlived the base before us.
void BaseServer::State::welcome_back(const Hello& hello, std::vector<net::Fd> fds,
                                     net::MessageSocket socket) {
  const auto peer = net::unix_peer(socket.fd());
  for (auto& [id, p] : processes) {
    if (p.record.token.empty() || !equal_constant_time(p.record.token, hello.token)) continue;
    if (!peer || static_cast<std::uint32_t>(peer->pid) != p.record.pid) break;
    take_listeners(hello, std::move(fds));
    if (p.channel) tell(Disconnected{id});
    p.channel = std::move(socket);
    p.unsent.clear();
    bool linked = false;
    for (const auto& [other, q] : processes)
      linked = linked || (other != id && hello.peer_pid != 0 && q.record.pid == hello.peer_pid);
    log_info("base.site_returned", {{"pid", std::to_string(p.record.pid)}});
    tell(Returned{.instance = id, .linked = linked});
    return handle_told();
  }
  log_warning("base.stranger_refused", {{"pid", peer ? std::to_string(peer->pid) : "unknown"}});
}

void BaseServer::State::hear(InstanceId id) {
  for (int count = 0; count < kMessagesAtOnce; ++count) {
    const auto at = processes.find(id);
    if (at == processes.end() || !at->second.channel) return;
    auto& p = at->second;
    flush(p);
    auto message = p.channel->receive_now();
    if (!message) {
      if (message.error().code == "would_block") return;
      p.channel.reset();
      p.unsent.clear();
      tell(Disconnected{id});
      return handle_told();
    }
    auto parsed = parse_from_site(id, message->bytes);
    if (!parsed) {
      // A newer site may say what we do not know; it is told by our version and need not be killed.
      log_warning("base.bad_message",
                  {{"pid", std::to_string(p.record.pid)}, {"why", parsed.error().message}});
      continue;
    }
    if (auto* event = std::get_if<Event>(&*parsed)) {
      const auto* beat = std::get_if<Heartbeat>(event);
      if (options.joining && beat != nullptr && beat->has_site) site_joined();
      tell(std::move(*event));
    }
    handle_told();
  }
}

void BaseServer::State::bury(InstanceId id) {
  const auto at = processes.find(id);
  if (at == processes.end()) return;
  for (;;) {  // What it said before it died still counts, all of it.
    if (!at->second.channel) break;
    auto message = at->second.channel->receive_now();
    if (!message) break;
    auto parsed = parse_from_site(id, message->bytes);
    if (auto* event = parsed ? std::get_if<Event>(&*parsed) : nullptr) tell(std::move(*event));
  }
  const auto how = reap(at->second.pidfd);
  log_info("base.site_ended", {{"pid", std::to_string(at->second.record.pid)}, {"how", how}});
  processes.erase(at);
  tell(Exited{.instance = id, .how = how});
  handle_told();
  start_postponed();
}

void BaseServer::State::flush(Process& p) {
  while (!p.unsent.empty()) {
    auto sent = p.channel->send_now(p.unsent.front());
    if (!sent && sent.error().code == "would_block") return;
    p.unsent.pop_front();  // Sent; or the socket is gone, which its reading side tells next.
  }
}

}  // namespace everspan::supervisor
