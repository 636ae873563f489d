#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <map>
#include <optional>

#include "console/connect.h"
#include "console/console_end.h"
#include "console/notices.h"
#include "net/socket.h"
#include "proto/link.pb.h"
#include "relay/legs/channel_pipe.h"

namespace everspan::console {
namespace {

constexpr int kOwnError = 255;
constexpr Duration kFirstAttachMax = std::chrono::seconds(15);
constexpr Duration kEndMax = std::chrono::seconds(3);
constexpr std::size_t kConnectionsMax = 60;  // Below what a session-host opens at a time.

using relay_legs::ChannelPipe;

}  // namespace

// One `tunnel`: each local connection is a channel of one session.
class Tunnel : public relay_legs::EndDriver::Application {
 public:
  Tunnel(net::asio::io_context& loop, const TunnelOptions& options)
      : loop_(loop),
        options_(options),
        notices_(options.err),
        signals_(loop, SIGINT, SIGTERM, SIGHUP),
        over_(loop.get_executor()) {}

  void begin(ConsoleEnd& end, net::Fd listener);
  net::Task<int> finish();

  void on_readable(std::uint32_t channel) override {
    if (const auto at = pipes_.find(channel); at != pipes_.end()) at->second->on_readable();
  }
  void on_writable(std::uint32_t channel) override {
    if (const auto at = pipes_.find(channel); at != pipes_.end()) at->second->on_writable();
  }
  void on_control(const std::string&) override {}  // ChannelOpened: bytes are on their way already.
  void on_channel_gone(std::uint32_t channel, const std::string& code,
                       const std::string& message) override;
  void on_leg(bool up) override {
    if (!up) return;
    was_up_ = true;
    over_.notify();
  }
  void on_notice(const std::string& text) override {
    if (!options_.quiet) notices_.site_says(text, false);
  }
  void on_ended(const std::string& code, const std::string& message) override;

 private:
  void open_channel(relay_legs::PipeOptions pipe);
  net::Task<void> accept_all();
  relay_end::SessionEnd& session() { return end_->driver().session(); }

  net::asio::io_context& loop_;
  const TunnelOptions& options_;
  Notices notices_;
  net::asio::signal_set signals_;
  net::Wakeup over_;
  net::Fd listener_;
  ConsoleEnd* end_ = nullptr;
  std::map<std::uint32_t, std::shared_ptr<ChannelPipe>> pipes_;
  std::uint32_t next_channel_ = 1;
  bool was_up_ = false;
  bool ended_ = false;
  std::optional<int> status_;
};

void Tunnel::begin(ConsoleEnd& end, net::Fd listener) {
  end_ = &end;
  listener_ = std::move(listener);
  if (options_.stdio) {
    relay_legs::PipeOptions pipe;
    pipe.shared = true;
    pipe.from = net::Fd(fcntl(options_.in, F_DUPFD_CLOEXEC, 3));
    pipe.to = net::Fd(fcntl(options_.out, F_DUPFD_CLOEXEC, 3));
    open_channel(std::move(pipe));
  } else {
    end.tasks().spawn("accept", accept_all());
  }
  end.driver().start();
  signals_.async_wait([this](boost::system::error_code error, int) {
    if (error) return;
    status_ = options_.stdio ? kOwnError : 0;
    over_.notify();
  });
}

void Tunnel::open_channel(relay_legs::PipeOptions pipe) {
  const std::uint32_t number = next_channel_;
  next_channel_ += 2;
  const Instant now = net::now();
  if (!session().add_channel(number, now)) return;
  pb::SessionControl message;
  auto& open = *message.mutable_open();
  open.set_channel(number);
  open.set_kind("tunnel");
  open.set_host(options_.host);
  open.set_port(static_cast<std::uint32_t>(options_.port));
  session().send_control(message, now);
  pipe.on_broken = [this, number](int) {
    if (const auto at = pipes_.find(number); at != pipes_.end()) at->second->close();
    pipes_.erase(number);
    session().abort_channel(number, "broken", "The local connection broke", net::now());
    end_->driver().pump();
    if (options_.stdio && !status_) status_ = kOwnError;
    over_.notify();
  };
  pipes_[number] =
      ChannelPipe::start(loop_.get_executor(), end_->driver(), number, std::move(pipe));
  end_->driver().pump();
}

net::Task<void> Tunnel::accept_all() {
  for (;;) {
    auto socket = co_await net::accept_tcp(listener_.get());
    if (!socket) {
      if (socket.error().code == "cancelled") co_return;
      const bool slept = co_await net::sleep_for(std::chrono::milliseconds(100));
      if (!slept) co_return;
      continue;
    }
    if (pipes_.size() >= kConnectionsMax) continue;  // Closed at once: tried again by its owner.
    relay_legs::PipeOptions pipe;
    pipe.from = socket->duplicate();
    pipe.to = std::move(*socket);
    pipe.socket = true;
    open_channel(std::move(pipe));
  }
}

void Tunnel::on_channel_gone(std::uint32_t channel, const std::string& code,
                             const std::string& message) {
  if (const auto at = pipes_.find(channel); at != pipes_.end()) {
    at->second->close();
    net::asio::post(loop_, [dead = std::move(at->second)] {});
    pipes_.erase(at);
  }
  if (!code.empty() && (options_.stdio || !options_.quiet))
    notices_.error("The endpoint closed the connection (" + printable(code, 40) +
                   "): " + printable(message));
  if (!options_.stdio || status_) return;
  status_ = code.empty() ? 0 : kOwnError;
  over_.notify();
}

void Tunnel::on_ended(const std::string& code, const std::string& message) {
  ended_ = true;
  if (!status_) {
    notices_.error("The session has ended (" + printable(code, 40) + "): " + printable(message));
    status_ = kOwnError;
  }
  over_.notify();
}

net::Task<int> Tunnel::finish() {
  const Instant first = net::now() + kFirstAttachMax;
  while (!status_) {
    if (!was_up_ && net::now() >= first) {
      notices_.error("The site cannot be reached: " + end_->last_problem());
      status_ = kOwnError;
      break;
    }
    std::ignore = co_await over_.wait_until(was_up_ ? Instant::max() : first);
  }
  for (auto& [number, pipe] : pipes_) pipe->close();
  session().request_end("the tunnel was closed", net::now());
  end_->driver().pump();
  const Instant until = net::now() + kEndMax;
  while (was_up_ && !ended_ && net::now() < until) std::ignore = co_await over_.wait_until(until);
  signals_.cancel();
  co_await end_->stop();
  co_return *status_;
}

namespace {

net::Task<void> run(net::asio::io_context& loop, Tunnel& tunnel, int& status) {
  status = co_await tunnel.finish();
  loop.stop();
}

Result<net::Fd> open_listener(const TunnelOptions& options) {
  if (options.stdio) return net::Fd();
  const auto address = net::Address::parse(options.listen);
  if (!address) return fail(address);
  auto listener = net::listen_tcp(*address);
  if (!listener) return fail(listener);
  if (!options.quiet) {
    const std::string line = "Listening on " + net::local_address(listener->get()).text() + "\n";
    if (write(options.out, line.data(), line.size()) < 0)
      return fail_errno("io", "Saying where it listens", errno);
  }
  return listener;
}

}  // namespace

int run_tunnel(const TunnelOptions& options) {
  signal(SIGPIPE, SIG_IGN);
  const Notices notices(options.err);
  auto listener = open_listener(options);
  if (!listener) return notices.error(listener.error().text()), kOwnError;
  SigningKey key = SigningKey::generate();
  SessionWish wish{.endpoint = options.endpoint,
                   .rights = {"tunnel"},
                   .reason = options.reason,
                   .via = {},
                   .notice = [&](const std::string& text) { notices.say(text, false); }};
  auto session = request_session(options.site, wish, key);
  if (!session) return notices.error(session.error().text()), kOwnError;
  auto tls = net::TlsContext::client(
      {.ca_pem = options.site.ca_pem, .ca_sha256 = {}, .alpn = std::string(wire::kAlpn)});
  if (!tls) return notices.error(tls.error().text()), kOwnError;
  net::asio::io_context loop(1);
  Tunnel tunnel(loop, options);
  ConsoleEnd end(loop.get_executor(), std::move(*session), std::move(key), std::move(*tls), 0,
                 tunnel);
  int status = kOwnError;
  net::TaskScope tasks(loop.get_executor());
  tunnel.begin(end, std::move(*listener));
  tasks.spawn("tunnel", run(loop, tunnel, status));
  loop.run();
  loop.restart();  // The last task's own end.
  loop.poll();
  return status;
}

}  // namespace everspan::console
