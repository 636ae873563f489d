#include "agent/host_session.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "agent/program.h"
#include "common/log.h"
#include "net/socket.h"
#include "proto/link.pb.h"

namespace everspan::agent {

constexpr Duration kConnectMax = std::chrono::seconds(10);
constexpr Duration kHangUpGrace = std::chrono::seconds(1);

struct HostSession::Channel {
  std::string kind;
  std::shared_ptr<relay_legs::ChannelPipe> pipe;
  pid_t pid = -1;  // -1: none, or it has been waited for.
  net::Fd terminal;
  std::optional<int> wait_status;
  bool output_ended = false;
  bool error_open = false;
  bool exit_told = false;
  bool gone = false;  // The channel itself is over at both ends.
};

HostSession::HostSession(net::Executor executor, CheckedGrant grant,
                         relay_end::SessionOptions options, relay_legs::EndDriver::Dialer& dialer,
                         std::function<void(std::string)> ended)
    : executor_(executor),
      grant_(std::move(grant)),
      ended_(std::move(ended)),
      tasks_(executor),
      driver_(executor, std::move(options), dialer, *this) {}

HostSession::~HostSession() = default;

HostSession::Channel* HostSession::find(std::uint32_t number) {
  const auto at = channels_.find(number);
  return at == channels_.end() ? nullptr : at->second.get();
}

void HostSession::on_readable(std::uint32_t number) {
  if (Channel* channel = find(number); channel && channel->pipe) channel->pipe->on_readable();
}

void HostSession::on_writable(std::uint32_t number) {
  if (Channel* channel = find(number); channel && channel->pipe) channel->pipe->on_writable();
}

void HostSession::on_leg(bool up) {
  log_debug(up ? "host.leg_up" : "host.leg_down");
}

void HostSession::on_control(const std::string& bytes) {
  pb::SessionControl message;
  if (!message.ParseFromString(bytes)) return;  // Parsed once already, by the session's end.
  if (message.has_open()) {
    open(message.open());
  } else if (message.has_resize()) {
    resize(message.resize());
  } else if (message.has_signal()) {
    signal(message.signal());
  } else if (message.has_bye()) {
    bye_ = true;
    end_when_done();
  }
}

// ---- Opening ----

void HostSession::refuse(std::uint32_t number, const std::string& code,
                         const std::string& message) {
  log_warning("channel.refused", {{"channel", std::to_string(number)}, {"code", code}});
  driver_.session().abort_channel(number, code, message, net::now());
  driver_.pump();
  end_when_done();
}

void HostSession::opened(std::uint32_t number) {
  pb::SessionControl message;
  message.mutable_opened()->set_channel(number);
  driver_.session().send_control(message, net::now());
}

void HostSession::join(std::uint32_t number, relay_legs::PipeOptions options) {
  auto pipe = relay_legs::ChannelPipe::start(executor_, driver_, number, std::move(options));
  Channel* channel = find(number);  // It may have ended already.
  if (channel && !channel->gone)
    channel->pipe = std::move(pipe);
  else
    pipe->close();
}

void HostSession::open(const pb::OpenChannel& request) {
  const std::uint32_t number = request.channel();
  if (number % 2 != 1) return;  // Not the console's to give.
  if (!grant_.allows(request.kind()))
    return refuse(number, "forbidden", "The grant does not allow this kind of channel");
  if (channels_.size() >= kHostChannelsMax)
    return refuse(number, "too_many", "This session has too many channels open");
  if (find(number) || !driver_.session().add_channel(number, net::now()))
    return refuse(number, "bad_channel", "This channel cannot be opened again");
  log_info("channel.open", {{"channel", std::to_string(number)}, {"kind", request.kind()}});
  auto& channel = channels_[number] = std::make_unique<Channel>();
  channel->kind = request.kind();
  if (request.kind() == "terminal" || request.kind() == "exec") {
    open_program(request);
  } else if (request.kind() == "tunnel") {
    open_tunnel(request);
  } else {
    channels_.erase(number);
    refuse(number, "unknown_kind", "This endpoint's release does not know this kind of channel");
  }
}

void HostSession::open_program(const pb::OpenChannel& request) {
  const std::uint32_t number = request.channel();
  ProgramRequest program{.terminal = request.kind() == "terminal",
                         .own_error = request.error_channel() != 0};
  program.argv.assign(request.argv().begin(), request.argv().end());
  for (const auto& variable : request.env())
    program.env.emplace_back(variable.name(), variable.value());
  if (request.columns() > 0) program.columns = std::min(request.columns(), 65535U);
  if (request.rows() > 0) program.rows = std::min(request.rows(), 65535U);
  auto started = start_program(program);
  if (!started) {
    channels_.erase(number);
    return refuse(number, started.error().code, started.error().text());
  }
  Channel& channel = *find(number);
  channel.pid = started->pid;
  if (program.terminal) channel.terminal = started->input.duplicate();
  if (started->error)
    open_error_channel(request.error_channel(), number, std::move(started->error));
  tasks_.spawn("program", watch_program(number, std::move(started->watch)));
  relay_legs::PipeOptions options;
  options.from = std::move(started->output);
  options.to = std::move(started->input);
  options.on_input_end = [this, number] {
    if (Channel* c = find(number)) {
      c->output_ended = true;
      tell_exit(number, *c);
    }
  };
  opened(number);
  join(number, std::move(options));
}

void HostSession::open_error_channel(std::uint32_t number, std::uint32_t of, net::Fd error) {
  if (number % 2 != 1 || find(number) || !driver_.session().add_channel(number, net::now())) return;
  auto& channel = channels_[number] = std::make_unique<Channel>();
  channel->kind = "error";
  channel->exit_told = true;  // Its program's exit is the other channel's news.
  find(of)->error_open = true;
  relay_legs::PipeOptions options;
  options.from = std::move(error);
  options.on_input_end = [this, of] {
    if (Channel* main = find(of)) {
      main->error_open = false;
      tell_exit(of, *main);
    }
  };
  join(number, std::move(options));
}

void HostSession::open_tunnel(const pb::OpenChannel& request) {
  const std::uint32_t number = request.channel();
  Channel& channel = *find(number);
  channel.exit_told = true;  // No program, no exit.
  if (request.host().empty() || request.host().size() > 255 || request.port() == 0 ||
      request.port() > 65535) {
    channels_.erase(number);
    return refuse(number, "bad_address", "A tunnel needs a host and a port");
  }
  tasks_.spawn("tunnel",
               connect_tunnel(number, request.host(), static_cast<std::uint16_t>(request.port())));
}

net::Task<void> HostSession::connect_tunnel(std::uint32_t number, std::string host,
                                            std::uint16_t port) {
  const net::Address to{.host = host, .port = port};
  const Instant deadline = net::now() + kConnectMax;
  auto socket = co_await net::connect_tcp(to, deadline);
  Channel* channel = find(number);
  if (!channel || channel->gone) co_return;
  if (!socket) {
    channels_.erase(number);
    refuse(number, "connect_failed", socket.error().text());
    co_return;
  }
  relay_legs::PipeOptions options;
  options.from = socket->duplicate();
  options.to = std::move(*socket);
  options.socket = true;
  options.on_broken = [this, number](int) {
    channels_.erase(number);
    refuse(number, "broken", "The connection behind the tunnel broke");
  };
  opened(number);
  join(number, std::move(options));
}

// ---- While it runs ----

void HostSession::resize(const pb::Resize& request) {
  Channel* channel = find(request.channel());
  if (!channel || !channel->terminal || request.columns() == 0 || request.rows() == 0) return;
  resize_terminal(channel->terminal.get(), std::min(request.columns(), 65535U),
                  std::min(request.rows(), 65535U));
}

void HostSession::signal(const pb::Signal& request) {
  Channel* channel = find(request.channel());
  const int number = signal_number(request.name());
  if (channel && channel->pid > 0 && number != 0) kill(-channel->pid, number);
}

net::Task<void> HostSession::watch_program(std::uint32_t number, net::Fd watch) {
  const bool over = co_await net::wait_readable(watch.get(), Instant::max());
  Channel* channel = find(number);
  if (!over || !channel) co_return;
  int status = 0;
  if (waitpid(channel->pid, &status, WNOHANG) != channel->pid) co_return;
  program_ended(number, status);
}

void HostSession::program_ended(std::uint32_t number, int wait_status) {
  Channel& channel = *find(number);
  channel.pid = -1;
  channel.wait_status = wait_status;
  log_info("program.ended", {{"channel", std::to_string(number)}});
  // A program in the background may hold the terminal; its shell's end is the channel's.
  if (channel.terminal && channel.pipe) channel.pipe->finish_after_rest();
  if (channel.gone) channel.output_ended = true;
  tell_exit(number, channel);
}

void HostSession::tell_exit(std::uint32_t number, Channel& channel) {
  if (!channel.exit_told && channel.wait_status && channel.output_ended && !channel.error_open) {
    channel.exit_told = true;
    pb::SessionControl message;
    auto& exit = *message.mutable_exit();
    exit.set_channel(number);
    if (WIFSIGNALED(*channel.wait_status))
      exit.set_signal(signal_name(WTERMSIG(*channel.wait_status)));
    else
      exit.set_status(static_cast<std::uint32_t>(WEXITSTATUS(*channel.wait_status)));
    driver_.session().send_control(message, net::now());
    driver_.pump();
  }
  forget_if_over(number);
}

void HostSession::on_channel_gone(std::uint32_t number, const std::string& code,
                                  const std::string&) {
  Channel* channel = find(number);
  if (!channel) return;
  channel->gone = true;
  if (channel->pipe) channel->pipe->close();
  channel->terminal.reset();
  if (!code.empty() && channel->pid > 0) kill(-channel->pid, SIGHUP);
  if (!code.empty() || channel->wait_status) channel->output_ended = true;
  tell_exit(number, *channel);
}

void HostSession::forget_if_over(std::uint32_t number) {
  Channel* channel = find(number);
  if (!channel || !channel->gone || !channel->exit_told) return;
  // Its pipe may be what is calling.
  net::asio::post(executor_, [dead = std::shared_ptr<Channel>(std::move(channels_[number]))] {});
  channels_.erase(number);
  end_when_done();
}

void HostSession::end_when_done() {
  if (!bye_ || !channels_.empty() || driver_.session().channels() > 0 || end_asked_) return;
  end_asked_ = true;
  driver_.session().request_end("program ended", net::now());
  driver_.pump();
}

void HostSession::on_ended(const std::string& code, const std::string& message) {
  log_info("session.ended", {{"code", code},
                             {"why", printable(message)},
                             {"legs", std::to_string(driver_.session().generation_used())},
                             {"resumes", std::to_string(driver_.session().resumes())}});
  for (auto& [number, channel] : channels_)
    if (channel->pipe) channel->pipe->close();
  ended_(code);
}

net::Task<void> HostSession::stop() {
  for (auto& [number, channel] : channels_)
    if (channel->pid > 0) kill(-channel->pid, SIGHUP);
  const Instant until = net::now() + kHangUpGrace;
  while (net::now() < until && tasks_.running() > 0)
    std::ignore = co_await net::sleep_for(std::chrono::milliseconds(20));
  for (auto& [number, channel] : channels_)
    if (channel->pid > 0) kill(-channel->pid, SIGKILL);
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace everspan::agent
