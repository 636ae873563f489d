#include "net/frame_link.h"

#include <boost/asio/defer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <utility>

#include "common/check.h"
#include "net/detail/output_buffer.h"

namespace everspan::net {
namespace {

using Descriptor = asio::posix::stream_descriptor;

// Of one wakeup; then others of the thread get their turn.
constexpr std::size_t kBytesPerWakeup = 256 * 1024;
constexpr std::size_t kSharedBufferBytes = 256 * 1024;

// All links of a thread read into this one, one after another; nothing stays in it.
std::span<std::uint8_t> shared_buffer() {
  thread_local const auto buffer = std::make_unique<std::uint8_t[]>(kSharedBufferBytes);
  return {buffer.get(), kSharedBufferBytes};
}

std::string_view text_of(std::span<const std::uint8_t> bytes) {
  return as_text(bytes);
}

}  // namespace

struct FrameLink::State : std::enable_shared_from_this<FrameLink::State> {
  State(Executor e, std::unique_ptr<Transport> t, Handler& h, std::string early)
      : executor(std::move(e)),
        transport(std::move(t)),
        handler(&h),
        unread(std::move(early)),
        descriptor(executor),
        linger(executor) {}

  // Life: open -> (lingering) -> ended. `handler` is null once nothing may be called any more.
  Executor executor;
  std::unique_ptr<Transport> transport;
  Handler* handler;
  std::string unread;        // Read from the transport, not yet given as frames.
  std::string_view current;  // While frames are given: what lies behind the one being given.
  detail::OutputBuffer output;
  Descriptor descriptor;
  Timer linger;
  bool started = false;
  bool ended = false;
  bool paused = false;
  bool giving = false;
  bool lingering = false;
  bool read_armed = false;
  bool read_posted = false;
  bool write_armed = false;
  bool read_waits_for_room = false;
  bool flush_posted = false;
  bool was_high = false;

  void start();
  void post_read();
  void arm_read();
  void arm_write();
  void on_readable();
  void on_bytes(std::string_view bytes);
  std::size_t give_frames(std::string_view bytes);
  void discard_input();
  void post_flush();
  void flush();
  void write_failed();
  void tell_writable();
  void continue_closing();
  void end(Error why);
  void forget();
};

void FrameLink::State::start() {
  started = true;
  boost::system::error_code error;
  descriptor.assign(transport->fd(), error);
  if (error) {
    end({"cut", "The connection cannot be watched: " + error.message(), {}, {}});
    return;
  }
  post_read();  // Early bytes, and what the transport already holds.
}

void FrameLink::State::post_read() {
  if (read_posted || ended || !started) return;
  read_posted = true;
  asio::post(executor, [self = shared_from_this()] {
    self->read_posted = false;
    self->on_readable();
  });
}

void FrameLink::State::arm_read() {
  if (read_armed || ended) return;
  read_armed = true;
  descriptor.async_wait(Descriptor::wait_read,
                        [self = shared_from_this()](boost::system::error_code error) {
                          self->read_armed = false;
                          if (!error) self->on_readable();
                        });
}

void FrameLink::State::arm_write() {
  if (write_armed || ended) return;
  write_armed = true;
  descriptor.async_wait(Descriptor::wait_write,
                        [self = shared_from_this()](boost::system::error_code error) {
                          self->write_armed = false;
                          if (error) return;
                          if (std::exchange(self->read_waits_for_room, false)) self->post_read();
                          self->flush();
                        });
}

void FrameLink::State::on_readable() {
  if (lingering) {
    discard_input();
    return;
  }
  std::size_t taken = 0;
  bool drained = false;
  if (!unread.empty() && !paused && !ended) {
    taken = unread.size();
    const std::string early = std::exchange(unread, {});
    on_bytes(early);
  }
  while (!ended && !paused && !drained && taken < kBytesPerWakeup) {
    const std::span<std::uint8_t> buffer = shared_buffer();
    const std::size_t kept = unread.size();
    std::copy(unread.begin(), unread.end(), buffer.begin());
    const std::span<std::uint8_t> room = buffer.subspan(kept);
    const IoResult result = transport->read(room);
    if (result.state == IoState::done) {
      drained = result.bytes < room.size() && !transport->has_buffered();
      taken += result.bytes;
      unread.clear();
      on_bytes(text_of(buffer.first(kept + result.bytes)));
    } else if (result.state == IoState::want_read) {
      drained = true;
    } else if (result.state == IoState::want_write) {
      read_waits_for_room = true;
      arm_write();
      drained = true;
    } else if (result.state == IoState::eof) {
      const bool whole = unread.empty();
      end(whole ? Error{"closed", "The other end closed the link", {}, {}}
                : Error{"cut", "The link ended inside a frame", {}, {}});
    } else {
      end(transport->error());
    }
  }
  if (!ended && !lingering && taken > 0) handler->on_read_batch_end();
  if (output.size() > 0) flush();
  if (ended || paused || lingering) return;
  if (drained) {
    arm_read();
  } else {
    post_read();
  }
}

// Gives whole frames and keeps the rest.
void FrameLink::State::on_bytes(std::string_view bytes) {
  check(!giving, "frames are given by one loop at a time");
  giving = true;
  const std::size_t used = give_frames(bytes);
  giving = false;
  current = {};
  if (!ended) unread.assign(bytes.substr(used));
}

std::size_t FrameLink::State::give_frames(std::string_view bytes) {
  std::size_t used = 0;
  while (!ended && !paused && !lingering) {
    std::size_t size = 0;
    const auto frame = wire::parse_frame(bytes.substr(used), size);
    if (!frame) {
      end(frame.error());
      break;
    }
    if (!frame->has_value()) break;
    const std::string_view raw = bytes.substr(used, size);
    used += size;
    current = bytes.substr(used);
    handler->on_frame(**frame, raw);
  }
  return used;
}

// Behind our last word nothing is read any more, but the peer's end is awaited, so that a reset
// does not overtake what we sent.
void FrameLink::State::discard_input() {
  const std::span<std::uint8_t> buffer = shared_buffer();
  std::size_t taken = 0;
  while (!ended) {
    const IoResult result = transport->read(buffer);
    if (result.state == IoState::eof || result.state == IoState::failed) {
      end({"closed", "The link was closed here", {}, {}});
      return;
    }
    taken += result.bytes;
    const bool drained = result.bytes < buffer.size() && !transport->has_buffered();
    if (result.state != IoState::done || drained) {
      arm_read();
      return;
    }
    if (taken >= kBytesPerWakeup) {
      post_read();
      return;
    }
  }
}

void FrameLink::State::post_flush() {
  if (flush_posted || write_armed || ended) return;
  flush_posted = true;
  // Behind everything that is ready now, so that one write takes what several links forwarded.
  asio::defer(executor, [self = shared_from_this()] {
    self->flush_posted = false;
    self->flush();
  });
}

void FrameLink::State::flush() {
  if (ended || write_armed || !started) return;
  while (output.size() > 0) {
    const iovec piece = output.front();
    const IoResult result = transport->write({&piece, 1});
    if (result.state == IoState::done) {
      output.consume(result.bytes);
    } else if (result.state == IoState::want_write) {
      arm_write();
      break;
    } else if (result.state == IoState::want_read) {
      arm_read();
      break;
    } else {
      write_failed();
      return;
    }
  }
  if (was_high && output.size() < kLowWater) tell_writable();
  if (lingering) continue_closing();
}

// What the peer sent before it broke off (a refusal) is still given, once. Never inline: the caller
// may be a handler in the middle of its work.
void FrameLink::State::write_failed() {
  asio::post(executor, [self = shared_from_this()] {
    if (self->ended) return;
    const Error why = self->transport->error();
    self->output.clear();
    self->on_readable();
    self->end(why);
  });
}

void FrameLink::State::tell_writable() {
  was_high = false;
  asio::post(executor, [self = shared_from_this()] {
    if (!self->ended && !self->lingering) self->handler->on_writable();
  });
}

void FrameLink::State::continue_closing() {
  if (output.size() > 0) return;
  if (!transport->send_close()) {
    end({"closed", "The link was closed here", {}, {}});
    return;
  }
  post_read();
}

// Nothing but on_closed() comes after this, and that never from inside a call of the owner.
void FrameLink::State::end(Error why) {
  if (ended) return;
  ended = true;
  if (descriptor.is_open()) std::ignore = descriptor.release();
  linger.cancel();
  transport->close();
  asio::post(executor, [self = shared_from_this(), why = std::move(why)] {
    Handler* last = std::exchange(self->handler, nullptr);
    if (last != nullptr) last->on_closed(why);
  });
}

void FrameLink::State::forget() {
  handler = nullptr;
  if (std::exchange(ended, true)) return;
  if (descriptor.is_open()) std::ignore = descriptor.release();
  linger.cancel();
  if (transport) transport->close();
}

FrameLink::FrameLink(Executor executor, std::unique_ptr<Transport> transport, Handler& handler,
                     std::string early)
    : state_(std::make_shared<State>(std::move(executor), std::move(transport), handler,
                                     std::move(early))) {}

FrameLink::~FrameLink() {
  state_->forget();
}

void FrameLink::start() {
  check(!state_->started && state_->transport != nullptr, "a link starts once");
  state_->start();
  if (state_->output.size() > 0) state_->post_flush();
}

void FrameLink::send(const wire::Frame& frame) {
  State& state = *state_;
  if (state.ended || state.lingering) return;
  wire::append_frame(state.output.tail(), frame);
  state.was_high |= above_high_water();
  state.post_flush();
}

void FrameLink::send_raw(std::string_view frame_bytes) {
  State& state = *state_;
  if (state.ended || state.lingering) return;
  state.output.tail().append(frame_bytes);
  state.was_high |= above_high_water();
  state.post_flush();
}

void FrameLink::flush() {
  state_->flush();
}
void FrameLink::pause_reading() {
  state_->paused = true;
}

void FrameLink::resume_reading() {
  if (!std::exchange(state_->paused, false)) return;
  state_->post_read();
}

void FrameLink::close() {
  state_->forget();
}

void FrameLink::close_after_flush(Duration at_most) {
  State& state = *state_;
  if (state.ended || state.lingering) return;
  state.lingering = true;
  state.paused = false;
  state.linger.expires_after(at_most);
  state.linger.async_wait([self = state_](boost::system::error_code cancelled) {
    if (!cancelled) self->end({"closed", "The link was closed here", {}, {}});
  });
  state.post_flush();
}

std::size_t FrameLink::pending_bytes() const {
  return state_->output.size();
}
Transport& FrameLink::transport() {
  return *state_->transport;
}

std::unique_ptr<Transport> FrameLink::release(std::string& early) {
  State& state = *state_;
  check(!state.ended && state.output.size() == 0, "an open link with nothing to send is released");
  early = state.giving ? std::string(state.current) : std::exchange(state.unread, {});
  std::unique_ptr<Transport> out = std::move(state.transport);
  state.forget();
  return out;
}

}  // namespace everspan::net
