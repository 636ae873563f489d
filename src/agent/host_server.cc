#include "agent/host_server.h"

#include <unistd.h>

#include "common/log.h"
#include "common/version.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "net/transport.h"
#include "proto/host.pb.h"

namespace everspan::agent {

constexpr std::uint32_t kHostProtocol = 1;
constexpr std::size_t kHostMessageBytesMax = 16 * 1024;
constexpr Duration kGreetingMax = std::chrono::seconds(5);
constexpr int kGreetingsMax = 32;

class HostServer::AgentLink : public net::FrameLink::Handler {
 public:
  AgentLink(HostServer& server, std::unique_ptr<net::Transport> transport, std::string early)
      : server_(server), link_(server.executor_, std::move(transport), *this, std::move(early)) {}
  void start() { link_.start(); }
  void close() { link_.close(); }
  void send(const pb::HostMessage& message) {
    const std::string bytes = message.SerializeAsString();
    link_.send(wire::Control{bytes});
    link_.flush();
  }
  void on_frame(const wire::Frame& frame, std::string_view) override {
    const auto* control = std::get_if<wire::Control>(&frame);
    pb::HostMessage message;
    if (control == nullptr || !message.ParseFromString(std::string(control->message))) return;
    if (!message.has_dial_failed() || !server_.driver_) return;
    log_debug("host.dial_failed", {{"code", printable(message.dial_failed().code(), 40)}});
    server_.driver_->dial_failed(message.dial_failed().generation());
  }
  void on_closed(const Error&) override { server_.agent_gone(this); }

 private:
  HostServer& server_;
  net::FrameLink link_;
};

HostServer::HostServer(net::Executor executor, net::Fd listener, unsigned owner_uid,
                       std::string signed_grant)
    : executor_(executor),
      listener_(std::move(listener)),
      owner_uid_(owner_uid),
      signed_grant_(std::move(signed_grant)),
      tasks_(executor) {}

HostServer::~HostServer() = default;

void HostServer::serve(relay_legs::EndDriver& driver) {
  driver_ = &driver;
  tasks_.spawn("accept", accept_all());
}

net::Task<void> HostServer::stop() {
  driver_ = nullptr;
  if (agent_) agent_->close();
  tasks_.cancel();
  co_await tasks_.join();
}

net::Task<void> HostServer::accept_all() {
  for (;;) {
    auto socket = co_await net::accept_unix(listener_.get());
    if (!socket) {
      if (socket.error().code == "cancelled") co_return;
      log_error("host.accept", {{"why", socket.error().text()}});
      const bool slept = co_await net::sleep_for(std::chrono::milliseconds(100));
      if (!slept) co_return;
      continue;
    }
    const auto peer = net::unix_peer(socket->get());
    if (!peer || (peer->uid != 0 && peer->uid != getuid() && peer->uid != owner_uid_)) continue;
    if (tasks_.running() > kGreetingsMax) continue;
    tasks_.spawn("greet", greet(std::move(*socket)));
  }
}

net::Task<void> HostServer::greet(net::Fd socket) {
  auto transport = net::plain_transport(std::move(socket));
  std::string early;
  const Instant deadline = net::now() + kGreetingMax;
  const auto bytes = co_await net::read_control(*transport, early, kHostMessageBytesMax, deadline);
  pb::HostMessage message;
  if (!bytes || !message.ParseFromString(*bytes) || driver_ == nullptr) co_return;
  if (message.has_agent())
    take_agent(std::move(transport), std::move(early));
  else if (message.has_leg())
    driver_->adopt(message.leg().generation(), std::move(transport), std::move(early));
}

void HostServer::take_agent(std::unique_ptr<net::Transport> transport, std::string early) {
  if (agent_) {
    agent_->close();
    net::asio::post(executor_, [old = std::move(agent_)] {});
  }
  agent_ = std::make_shared<AgentLink>(*this, std::move(transport), std::move(early));
  agent_->start();
  log_info("host.agent", {{"pid", std::to_string(getpid())}});
  pb::HostMessage message;
  auto& hello = *message.mutable_host();
  hello.set_version(kHostProtocol);
  hello.set_release(std::string(program_version()));
  hello.mutable_grant()->ParseFromString(signed_grant_);
  hello.set_pid(static_cast<std::uint64_t>(getpid()));
  agent_->send(message);
  if (asked_ && driver_->session().wants_leg(asked_->generation)) ask_agent(*asked_);
}

void HostServer::agent_gone(AgentLink* which) {
  if (agent_.get() != which) return;
  net::asio::post(executor_, [old = std::move(agent_)] {});
  agent_.reset();
}

void HostServer::dial(const relay_end::Dial& dial) {
  asked_ = dial;
  if (agent_) ask_agent(dial);
}

void HostServer::ask_agent(const relay_end::Dial& dial) {
  pb::HostMessage message;
  auto& out = *message.mutable_dial();
  out.set_generation(dial.generation);
  out.set_reason(static_cast<pb::Attach::Reason>(dial.reason));
  out.mutable_candidate()->set_host(dial.candidate.host);
  out.mutable_candidate()->set_port(dial.candidate.port);
  out.mutable_candidate()->set_node(dial.candidate.node);
  agent_->send(message);
}

}  // namespace everspan::agent
