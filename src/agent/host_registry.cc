#include "agent/host_registry.h"

#include <dirent.h>
#include <unistd.h>

#include "agent/host_process.h"
#include "agent/splice.h"
#include "common/log.h"
#include "common/version.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "proto/host.pb.h"
#include "relay/legs/leg_dialer.h"

namespace everspan::agent {
namespace {

constexpr std::uint32_t kHostProtocol = 1;
constexpr Duration kLocalMax = std::chrono::seconds(5);
// Below LegKeeper::kAttachMax, so that the host hears why.
constexpr Duration kDialMax = std::chrono::milliseconds(4500);

std::string frame_of(const pb::HostMessage& message) {
  const std::string bytes = message.SerializeAsString();
  std::string out;
  wire::append_frame(out, wire::Control{bytes});
  return out;
}

std::string session_of(const pb::SignedGrant& signed_grant) {
  pb::Grant grant;
  return grant.ParseFromString(signed_grant.grant()) ? grant.session_id() : std::string();
}

}  // namespace

// The agent's connection to one host.
class HostRegistry::HostLink : public net::FrameLink::Handler {
 public:
  HostLink(HostRegistry& registry, std::string path, std::unique_ptr<net::Transport> transport)
      : registry_(registry),
        path_(std::move(path)),
        link_(registry.executor_, std::move(transport), *this) {}
  void start() {
    link_.start();
    pb::HostMessage hello;
    hello.mutable_agent()->set_version(kHostProtocol);
    hello.mutable_agent()->set_release(std::string(program_version()));
    send(hello);
  }
  void close() { link_.close(); }
  void send(const pb::HostMessage& message) {
    link_.send_raw(frame_of(message));
    link_.flush();
  }
  void on_frame(const wire::Frame& frame, std::string_view) override {
    const auto* control = std::get_if<wire::Control>(&frame);
    pb::HostMessage message;
    if (control == nullptr || !message.ParseFromString(std::string(control->message))) return;
    if (message.has_host()) {
      signed_grant_ = message.host().grant().SerializeAsString();
      session_id_ = session_of(message.host().grant());
      log_info("host.found", {{"session", to_hex(as_bytes(session_id_))},
                              {"pid", std::to_string(message.host().pid())},
                              {"release", printable(message.host().release(), 40)}});
    } else if (message.has_dial() && !signed_grant_.empty()) {
      registry_.tasks_.spawn("leg", registry_.carry_leg(path_, message.dial().SerializeAsString()));
    }
  }
  void on_closed(const Error&) override { registry_.host_gone(this); }

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& session_id() const { return session_id_; }
  [[nodiscard]] const std::string& signed_grant() const { return signed_grant_; }

 private:
  HostRegistry& registry_;
  std::string path_;
  std::string session_id_;
  std::string signed_grant_;
  net::FrameLink link_;
};

HostRegistry::HostRegistry(net::Executor executor, std::string folder, std::string host_program,
                           const Identity& identity, const SigningKey& key,
                           const net::TlsContext& tls)
    : executor_(executor),
      folder_(std::move(folder)),
      host_program_(std::move(host_program)),
      identity_(identity),
      key_(key),
      tls_(tls),
      tasks_(executor) {}

HostRegistry::~HostRegistry() = default;

void HostRegistry::find_hosts() {
  DIR* folder = opendir(folder_.c_str());
  if (folder == nullptr) return;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (!name.starts_with("host-") || !name.ends_with(".sock")) continue;
    tasks_.spawn("host", serve_host(folder_ + "/" + name));
  }
  closedir(folder);
}

bool HostRegistry::has(const std::string& session_id) const {
  return hosts_.contains(folder_ + "/host-" + to_hex(as_bytes(session_id)) + ".sock");
}

std::vector<std::string> HostRegistry::sessions() const {
  std::vector<std::string> out;
  for (const auto& [path, host] : hosts_)
    if (host && !host->session_id().empty()) out.push_back(host->session_id());
  return out;
}

net::Task<Result<void>> HostRegistry::open(std::string session_id, std::string signed_grant,
                                           std::string orders) {
  if (has(session_id)) co_return Result<void>{};  // Asked twice.
  if (hosts_.size() >= kSessionsMax)
    co_return fail("too_many", "This endpoint carries as many sessions as it may");
  const std::string path = folder_ + "/host-" + to_hex(as_bytes(session_id)) + ".sock";
  hosts_[path] = nullptr;  // Starting.
  pb::HostStart start;
  start.set_version(kHostProtocol);
  start.mutable_grant()->ParseFromString(signed_grant);
  start.set_site_key(identity_.site.grant_key);
  start.set_socket_path(path);
  start.mutable_orders()->ParseFromString(orders);
  if (getuid() == 0) start.set_user(identity_.user);
  const Instant deadline = net::now() + kLocalMax;
  const std::string bytes = start.SerializeAsString();
  const auto started = co_await start_host(host_program_, bytes, deadline);
  if (!started) {
    hosts_.erase(path);
    co_return fail(started);
  }
  co_await serve_host(path);
  co_return Result<void>{};
}

net::Task<void> HostRegistry::serve_host(std::string path) {
  const Instant deadline = net::now() + kLocalMax;
  auto socket = co_await net::connect_unix(path, deadline);
  if (!socket) {
    hosts_.erase(path);
    if (socket.error().code == "cancelled") co_return;
    unlink(path.c_str());  // Nobody listens: its host has ended.
    co_return;
  }
  const auto host =
      std::make_shared<HostLink>(*this, path, net::plain_transport(std::move(*socket)));
  hosts_[path] = host;
  host->start();
}

void HostRegistry::host_gone(HostLink* which) {
  const auto at = hosts_.find(which->path());
  if (at == hosts_.end() || at->second.get() != which) return;
  log_info("host.gone", {{"session", to_hex(as_bytes(which->session_id()))}});
  net::asio::post(executor_, [dead = at->second] {});
  const std::string path = which->path();
  hosts_.erase(at);
  // It ended (and its socket with it), or it was only this connection.
  tasks_.spawn("host", serve_host(path));
}

void HostRegistry::report_failure(const std::string& path, std::uint64_t generation,
                                  const Error& why) {
  log_info("leg.dial_failed", {{"code", why.code}, {"why", why.text()}});
  const auto at = hosts_.find(path);
  if (at == hosts_.end() || !at->second) return;
  pb::HostMessage message;
  message.mutable_dial_failed()->set_generation(generation);
  message.mutable_dial_failed()->set_code(why.code);
  message.mutable_dial_failed()->set_message(why.message);
  at->second->send(message);
}

net::Task<void> HostRegistry::carry_leg(std::string path, std::string dial_bytes) {
  pb::HostDial dial;
  dial.ParseFromString(dial_bytes);
  const auto at = hosts_.find(path);
  if (at == hosts_.end() || !at->second) co_return;
  relay_legs::LegIdentity identity;
  identity.session_id = at->second->session_id();
  identity.signed_grant = at->second->signed_grant();
  identity.side = relay_end::Side::agent;
  relay_end::Dial order;
  order.generation = dial.generation();
  order.reason = static_cast<relay_end::DialReason>(dial.reason());
  order.candidate = {dial.candidate().host(), static_cast<std::uint16_t>(dial.candidate().port()),
                     dial.candidate().node()};
  if (order.candidate.host.empty() && !identity_.candidates.empty())
    order.candidate = identity_.candidates.front();
  const Instant deadline = net::now() + kDialMax;
  auto leg = co_await relay_legs::open_leg(tls_, key_, identity, order, deadline);
  if (!leg) {
    report_failure(path, order.generation, leg.error());
    co_return;
  }
  co_await bring_leg(path, order.generation, std::move(leg->transport), std::move(leg->early));
}

net::Task<void> HostRegistry::bring_leg(std::string path, std::uint64_t generation,
                                        std::unique_ptr<net::Transport> node, std::string early) {
  const Instant deadline = net::now() + kLocalMax;
  auto socket = co_await net::connect_unix(path, deadline);
  if (!socket) co_return;  // The host has ended.
  auto host = net::plain_transport(std::move(*socket));
  pb::HostMessage hello;
  hello.mutable_leg()->set_generation(generation);
  std::string first = frame_of(hello) + early;
  co_await splice(std::move(node), std::move(host), std::move(first));
}

net::Task<void> HostRegistry::stop() {
  for (auto& [path, host] : hosts_)
    if (host) host->close();
  tasks_.cancel();
  co_await tasks_.join();
  hosts_.clear();
}

}  // namespace everspan::agent
