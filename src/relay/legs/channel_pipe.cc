#include "relay/legs/channel_pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <cerrno>
#include <climits>

namespace everspan::relay_legs {
namespace {

constexpr std::size_t kReadBytes = 32 * 1024;
// What Asio says when epoll takes no such file: plain files and /dev/null, which are always ready.
constexpr auto kNotPollable = boost::asio::error::operation_not_supported;
constexpr int kRoundsPerWakeup = 8;  // Then others get their turn.

bool is_ready(int fd, short events) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return poll(&entry, 1, 0) > 0;
}

}  // namespace

std::shared_ptr<ChannelPipe> ChannelPipe::start(net::Executor executor, EndDriver& driver,
                                                std::uint32_t channel, PipeOptions options) {
  std::shared_ptr<ChannelPipe> pipe(
      new ChannelPipe(std::move(executor), driver, channel, std::move(options)));
  if (pipe->from_.is_open())
    pipe->arm_read();
  else
    pipe->input_ended_ = true;
  pipe->on_readable();
  return pipe;
}

ChannelPipe::ChannelPipe(net::Executor executor, EndDriver& driver, std::uint32_t channel,
                         PipeOptions options)
    : executor_(std::move(executor)),
      driver_(driver),
      channel_(channel),
      options_(std::move(options)),
      from_(executor_),
      to_(executor_) {
  if (options_.from && !open(from_, options_.from.duplicate())) options_.from.reset();
  if (options_.to && !open(to_, options_.to.duplicate())) options_.to.reset();
}

ChannelPipe::~ChannelPipe() = default;

bool ChannelPipe::open(Descriptor& descriptor, net::Fd fd) const {
  if (!options_.shared) fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  boost::system::error_code error;
  descriptor.assign(fd.get(), error);
  if (!error) std::ignore = fd.release();
  return !error;
}

void ChannelPipe::close() {
  if (std::exchange(closed_, true)) return;
  boost::system::error_code ignored;
  from_.close(ignored);
  to_.close(ignored);
  options_.from.reset();
  options_.to.reset();
}

// ---- From the descriptor into the channel ----

void ChannelPipe::arm_read() {
  if (reading_ || closed_ || input_ended_) return;
  reading_ = true;
  const auto go = [weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (!self) return;
    self->reading_ = false;
    if (error == kNotPollable) self->from_plain_ = true;
    if ((!error || error == kNotPollable) && !self->closed_) self->read_some();
  };
  if (from_plain_)
    net::asio::post(executor_, [go] { go({}); });
  else
    from_.async_wait(Descriptor::wait_read, go);
}

void ChannelPipe::read_some() {
  for (int round = 0; round < kRoundsPerWakeup && !input_ended_; ++round) {
    const std::size_t room = driver_.session().room(channel_);
    if (!pending_.empty() || room == 0) return driver_.session().want_room(channel_);
    if (options_.shared && round > 0 && !from_plain_ && !is_ready(options_.from.get(), POLLIN))
      return arm_read();
    std::string bytes(std::min(room, kReadBytes), '\0');
    const ssize_t got = options_.read
                            ? options_.read(options_.from.get(), bytes.data(), bytes.size())
                            : ::read(options_.from.get(), bytes.data(), bytes.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (rest_only_) return end_input();
      return arm_read();
    }
    if (got <= 0) return end_input();  // A PTY whose programs have gone says EIO.
    bytes.resize(static_cast<std::size_t>(got));
    take_input(std::move(bytes));
    if (closed_) return;
  }
  arm_read();
}

void ChannelPipe::take_input(std::string bytes) {
  if (options_.filter) options_.filter(bytes);
  pending_ += bytes;
  if (closed_) return;
  const std::size_t taken = driver_.session().write(channel_, pending_, net::now());
  pending_.erase(0, taken);
  driver_.pump();
}

void ChannelPipe::end_input() {
  if (input_ended_) return;
  input_ended_ = true;
  driver_.session().finish(channel_, net::now());
  driver_.pump();
  if (options_.on_input_end) options_.on_input_end();
}

void ChannelPipe::finish_after_rest() {
  rest_only_ = true;
  if (!input_ended_ && !closed_) read_some();
}

void ChannelPipe::on_writable() {
  if (closed_ || input_ended_) return;
  if (!pending_.empty()) take_input({});
  if (!pending_.empty() || closed_) return;
  if (rest_only_)
    read_some();
  else
    arm_read();
}

// ---- From the channel to the descriptor ----

void ChannelPipe::on_readable() {
  if (!closed_ && !writing_) write_some();
}

void ChannelPipe::arm_write() {
  if (writing_ || closed_) return;
  writing_ = true;
  const auto go = [weak = weak_from_this()](boost::system::error_code error) {
    const auto self = weak.lock();
    if (!self) return;
    self->writing_ = false;
    if (error == kNotPollable) self->to_plain_ = true;
    if ((!error || error == kNotPollable) && !self->closed_) self->write_some();
  };
  if (to_plain_)
    net::asio::post(executor_, [go] { go({}); });
  else
    to_.async_wait(Descriptor::wait_write, go);
}

void ChannelPipe::write_some() {
  if (!write_pieces()) arm_write();
  check_output_end();
}

bool ChannelPipe::write_pieces() {
  auto& session = driver_.session();
  bool consumed = false;
  bool waits = false;
  while (!closed_ && !waits) {
    const std::string_view bytes = session.readable(channel_);
    if (bytes.empty()) break;
    std::size_t size = bytes.size();
    if (options_.to) {
      if (options_.shared) {
        // A pipe that is ready takes this much without blocking (pipe(7)).
        size = std::min<std::size_t>(size, PIPE_BUF);
        if (!to_plain_ && !is_ready(options_.to.get(), POLLOUT)) {
          waits = true;
          break;
        }
      }
      const ssize_t put = options_.write ? options_.write(options_.to.get(), bytes.substr(0, size))
                                         : ::write(options_.to.get(), bytes.data(), size);
      if (put < 0 && (errno == EAGAIN || errno == EINTR)) {
        waits = true;
        break;
      }
      if (put < 0) {
        break_output(errno);
        continue;
      }
      size = static_cast<std::size_t>(put);
    }
    session.consume(channel_, size, net::now());
    consumed = true;
  }
  if (consumed) driver_.pump();
  return !waits;
}

void ChannelPipe::break_output(int error) {
  boost::system::error_code ignored;
  to_.close(ignored);
  options_.to.reset();
  if (!options_.on_broken) return;
  net::asio::post(executor_, [weak = weak_from_this(), error] {
    const auto self = weak.lock();
    if (self && !self->closed_) self->options_.on_broken(error);
  });
}

void ChannelPipe::check_output_end() {
  if (closed_ || output_ended_ || !driver_.session().at_end(channel_)) return;
  output_ended_ = true;
  boost::system::error_code ignored;
  // This connection is this process's alone, so its end may be said for all.
  if (options_.to && options_.socket) ::shutdown(options_.to.get(), SHUT_WR);
  to_.close(ignored);
  options_.to.reset();
  if (options_.on_output_end) options_.on_output_end();
}

}  // namespace everspan::relay_legs
