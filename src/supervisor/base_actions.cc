#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/crypto.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "net/async.h"
#include "net/socket.h"
#include "supervisor/detail/base_state.h"
#include "supervisor/detail/files.h"
#include "supervisor/first_start.h"

extern char** environ;

namespace everspan::supervisor {
namespace {

constexpr std::size_t kUnsentMax = 1000;  // A site that reads nothing is silent too, and killed.
constexpr std::string_view kPublic = "public";

std::string_view name_of(const Action& action) {
  constexpr std::array<std::string_view, 15> kNames = {
      "persist", "start_process", "welcome", "activate", "release_writer",
      "link",    "peer_gone",     "role",    "retire",   "kill",
      "stage",   "self_test",     "reply",   "note",     "stopped"};
  static_assert(kNames.size() == std::variant_size_v<Action>);
  return kNames[action.index()];
}

bool is_listening_at(int fd, const net::Address& wanted) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0)
    return false;
  return wanted.port == 0 || net::local_address(fd).port == wanted.port;
}

constexpr std::size_t kTrustedRootBytesMax = 100U << 10;  // It travels in one message.

// Sites get a small, known environment; their failpoints only where base was allowed to have them.
std::vector<std::string> site_environment(const std::string& failpoint, const std::string& hits) {
  std::vector<std::string> out;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const auto name = entry.substr(0, entry.find('='));
    const bool known = name == "PATH" || name == "LANG" || name == "TZ" ||
                       name.ends_with("SAN_OPTIONS") || name == "EVERSPAN_LOG" ||
                       name.starts_with("EVERSPAN_TEST_");
    if (known) out.emplace_back(entry);
  }
  if (!failpoint.empty()) {
    out.push_back("EVERSPAN_FAILPOINT=" + failpoint);
    out.emplace_back("EVERSPAN_FAILPOINTS_ENABLED=1");
    out.push_back("EVERSPAN_FAILPOINT_HITS=" + hits);
  }
  return out;
}

}  // namespace

void BaseServer::State::handle_told() {
  if (handling) return;  // An action told something: the outer call goes on with it.
  handling = true;
  while (!told.empty() && exit_status == 0) {
    const auto event = std::move(told.front());
    told.pop_front();
    perform(core.handle(event, net::now()));
  }
  handling = false;
  if (options.init && core.serving()) site_was_made();
  if (options.joining && !said_how_to_join && core.serving()) waits_to_join();
}

void BaseServer::State::perform(const std::vector<Action>& actions) {
  const bool named = !failpoints_armed().empty();
  for (const auto& action : actions) {
    if (named) failpoint("base.before_" + std::string(name_of(action)));
    std::visit([this](const auto& a) { run(a); }, action);
    if (exit_status != 0) return;  // B1
    if (named) failpoint("base.after_" + std::string(name_of(action)));
  }
}

void BaseServer::State::run(const Persist&) {
  const auto saved = file.save(core.state());
  if (saved) return;
  log_error("base.state_not_saved", {{"why", saved.error().text()}});
  exit_status = 1;
  done = true;
}

void BaseServer::State::run(const StartProcess& action) {
  if (listeners.empty()) {
    if (waits_for_listeners()) return postponed.push_back(action);
    if (auto bound = bind_listeners(); !bound)
      return tell(StartFailed{.instance = action.instance, .why = bound.error().text()});
  }
  auto program = releases.open_program(action.digest);
  if (!program)
    return tell(StartFailed{.instance = action.instance, .why = program.error().text()});
  auto started = start_site(*program, start_options(action.digest));
  if (!started)
    return tell(StartFailed{.instance = action.instance, .why = started.error().text()});
  log_info("base.site_started",
           {{"pid", std::to_string(started->record.pid)}, {"digest", action.digest.substr(0, 8)}});
  auto& p = processes[action.instance];
  p.record = started->record;
  p.pidfd = std::move(started->pidfd);
  p.channel = std::move(started->channel);
  tell(Started{.instance = action.instance, .process = p.record});
}

StartOptions BaseServer::State::start_options(const std::string& digest) const {
  StartOptions out;
  if (!options.site_log_inherit)
    out.log_prefix = options.layout.run() + "/site-" + digest.substr(0, 8) + "-";
  out.user = options.user;
  out.environment = site_environment(options.site_failpoint, options.layout.failpoint_hits());
  return out;
}

void BaseServer::State::run(const SendWelcome& action) {
  const auto* slot = core.find(action.instance);
  const auto at = processes.find(action.instance);
  if (slot == nullptr || at == processes.end()) return;
  WelcomeParts parts;
  parts.node_id = options.node.raw();
  parts.data_dir = options.layout.data;
  parts.release_digest = slot->digest;
  parts.slot_token = at->second.record.token;
  parts.base_socket = options.layout.base_socket();
  parts.heartbeat_ms = options.heartbeat_ms;
  const auto root = detail::read_file(options.layout.trust() + "/root.json", kTrustedRootBytesMax);
  if (root) {
    parts.trusted_root = *root;
  } else if (root.error().code != "not_found") {
    log_warning("base.trusted_root_unreadable", {{"why", root.error().text()}});
  }
  if (slot->role == Role::active) parts.init = options.init.get();
  parts.join = options.joining;
  net::Message message;
  for (const auto& each : listeners) {
    parts.listeners.push_back(each.name);
    message.fds.push_back(each.fd.duplicate());
  }
  message.bytes = welcome_bytes(action, parts);
  send(action.instance, std::move(message));
}

void BaseServer::State::run(const LinkPeers& action) {
  const auto* one = core.find(action.one);
  const auto* other = core.find(action.other);
  if (one == nullptr || other == nullptr || !one->process || !other->process) return;
  auto hand_over = net::MessageSocket::pair();
  std::array<int, 2> bridge{};
  if (!hand_over ||
      socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, bridge.data()) != 0) {
    log_error("base.no_peer_sockets", {{"errno", std::to_string(errno)}});
    return;
  }
  net::Message to_one{.bytes = peer_bytes(other->role, other->digest, other->process->pid),
                      .fds = {}};
  to_one.fds.push_back(hand_over->first.release());
  to_one.fds.emplace_back(bridge[0]);
  net::Message to_other{.bytes = peer_bytes(one->role, one->digest, one->process->pid), .fds = {}};
  to_other.fds.push_back(hand_over->second.release());
  to_other.fds.emplace_back(bridge[1]);
  send(action.one, std::move(to_one));
  send(action.other, std::move(to_other));
}

void BaseServer::State::run(const Kill& action) {
  const auto at = processes.find(action.instance);
  if (at == processes.end()) return;
  log_warning("base.kill", {{"pid", std::to_string(at->second.record.pid)}, {"why", action.why}});
  kill_process(at->second.pidfd);
}

void BaseServer::State::run(const RunStage& action) {
  auto job = start_stage(options.layout, options.user, action.key, action.what,
                         core.state().security_floor);
  if (job) return stage_jobs.push_back(std::move(*job));
  tell(StageDone{.key = action.key,
                 .outcome = Outcome{.code = job.error().code, .message = job.error().message},
                 .release = {}});
}

void BaseServer::State::run(const RunSelfTest& action) {
  auto job = start_self_test(options.layout, start_options(action.what.digest), action.key,
                             action.what, net::now());
  if (job) return self_tests.push_back(std::move(*job));
  tell(SelfTestDone{.key = action.key,
                    .outcome = Outcome{.code = job.error().code, .message = job.error().message}});
}

void BaseServer::State::run(const Reply& action) {
  send(action.to,
       {.bytes = message_bytes(action, core, {.single_user = !options.user.separate}), .fds = {}});
}
void BaseServer::State::run(const SendActivate& action) {
  log_info("base.granted", {{"generation", std::to_string(action.generation)},
                            {"instance", std::to_string(action.instance)}});
  send(action.instance, {.bytes = message_bytes(action), .fds = {}});
}
void BaseServer::State::run(const SendReleaseWriter& action) {
  send(action.instance, {.bytes = message_bytes(action), .fds = {}});
}
void BaseServer::State::run(const SendPeerGone& action) {
  send(action.instance, {.bytes = message_bytes(action), .fds = {}});
}
void BaseServer::State::run(const SendRole& action) {
  send(action.instance, {.bytes = message_bytes(action), .fds = {}});
}
void BaseServer::State::run(const SendRetire& action) {
  send(action.instance, {.bytes = message_bytes(action), .fds = {}});
}
void BaseServer::State::run(const Note& action) {
  log_info(action.event, {{"text", action.text}});
}
void BaseServer::State::run(const Stopped&) {
  done = true;
}

void BaseServer::State::send(InstanceId to, net::Message message) {
  const auto at = processes.find(to);
  if (at == processes.end() || !at->second.channel) return;
  auto& p = at->second;
  flush(p);
  if (p.unsent.empty()) {
    auto sent = p.channel->send_now(message);
    if (sent || sent.error().code != "would_block") return;  // Gone: its reading side tells.
  }
  if (p.unsent.size() < kUnsentMax) p.unsent.push_back(std::move(message));
}

// Durable first, so that a later start does not make the site a second time.
void BaseServer::State::site_was_made() {
  const auto saved = detail::write_file_durably(options.layout.site_made(), kSiteMade, 0600);
  if (!saved) log_error("base.site_made_not_saved", {{"why", saved.error().text()}});
  const auto at = options.listen.text();
  std::printf(
      "\nThe site \"%s\" is made and serves at https://%s/\n"
      "  its authority (give this file to clients): %s/node/ca.pem\n"
      "  log in:   everspan login --site https://%s --ca %s/node/ca.pem %s\n"
      "  then:     everspan status;  everspan endpoint enrol-token\n\n",
      options.init->site_name.c_str(), at.c_str(), options.layout.data.c_str(), at.c_str(),
      options.layout.data.c_str(), options.init->admin_name.c_str());
  std::fflush(stdout);
  wipe(options.init->admin_password);
  wipe(options.init->appliance_admin_password);
  options.init.reset();
}

// To the person who started it; again at each start until the site is here.
void BaseServer::State::waits_to_join() {
  said_how_to_join = true;
  const auto at = options.listen.text();
  const auto key = options.layout.inter_appliance_key();
  std::printf(
      "\nThis node has no site yet; it listens at %s and waits for one.\n"
      "  its inter-appliance key: %s  (good for one establishing)\n"
      "  1. carry the key to where you administer the site (scp; it is a secret)\n"
      "  2. at the node that has the site:\n"
      "     everspan failover establish --backup %s --reverse ITS-HOST:PORT --key-file FILE\n"
      "     (ITS-HOST:PORT: where this node reaches that one; --dry-run only checks)\n\n",
      at.c_str(), key.c_str(), at.c_str());
  std::fflush(stdout);
}

// Durable before `joining` goes: whatever a crash leaves, the node starts as what it is.
void BaseServer::State::site_joined() {
  options.joining = false;
  if (const auto saved = detail::write_file_durably(options.layout.site_made(), kSiteJoined, 0600);
      !saved) {
    // The site process knows its site all the same; the next start tries again.
    log_error("base.site_joined_not_saved", {{"why", saved.error().text()}});
    return;
  }
  if (unlink(options.layout.joining().c_str()) != 0)
    log_warning("base.joining_left_behind", {{"errno", std::to_string(errno)}});
  log_info("base.site_joined", {});
  std::printf(
      "\nThis node has joined: it keeps a copy of the site.\n"
      "  see:  everspan failover status\n\n");
  std::fflush(stdout);
}

void BaseServer::State::find_processes() {
  for (const auto& slot : core.state().slots) {
    if (!slot.process) continue;
    auto pidfd = find_process(*slot.process);
    if (pidfd) {
      auto& p = processes[slot.instance];
      p.record = *slot.process;
      p.pidfd = std::move(*pidfd);
      log_info("base.site_found", {{"pid", std::to_string(p.record.pid)}});
    } else {
      tell(Exited{.instance = slot.instance,
                  .how = "ended while base was away",
                  .blameless = !same_boot(*slot.process)});
    }
  }
}

// Somebody else holds the port for us still, and will bring it.
bool BaseServer::State::waits_for_listeners() const {
  if (!listeners.empty()) return false;
  for (const auto& [id, p] : processes)
    if (!p.channel) return true;
  return false;
}

Result<void> BaseServer::State::bind_listeners() {
  auto fd = net::listen_tcp(options.listen);
  if (!fd) return fail(fd);
  if (options.listen.port == 0) options.listen.port = net::local_address(fd->get()).port;
  listeners.push_back({.name = {.name = std::string(kPublic),
                                .host = options.listen.host,
                                .port = options.listen.port},
                       .fd = std::move(*fd)});
  return {};
}

void BaseServer::State::take_listeners(const Hello& hello, std::vector<net::Fd> fds) {
  if (!listeners.empty()) return;
  for (std::size_t i = 0; i < hello.listeners.size() && i < fds.size(); ++i) {
    const auto& name = hello.listeners[i];
    if (name.name != kPublic || !is_listening_at(fds[i].get(), options.listen)) {
      log_warning("base.listener_refused", {{"name", printable(name.name)}});
      continue;
    }
    listeners.push_back({.name = name, .fd = std::move(fds[i])});
  }
  if (listeners.empty()) return;
  options.listen.port = static_cast<std::uint16_t>(listeners.front().name.port);
  start_postponed();
}

void BaseServer::State::start_postponed() {
  if (waits_for_listeners()) return;
  for (auto waiting = std::exchange(postponed, {}); !waiting.empty(); waiting.pop_front())
    run(waiting.front());
  handle_told();
}

}  // namespace everspan::supervisor
