#include "relay/detail/watched_link.h"

namespace everspan::relay {
namespace {

// A refused or drained peer gets this long to take what was said.
constexpr Duration kLastWords = std::chrono::seconds(5);

}  // namespace

WatchedLink::WatchedLink(net::Executor executor, std::unique_ptr<net::Transport> transport,
                         std::string early)
    : address_(transport->peer().text()),
      link_(std::move(executor), std::move(transport), *this, std::move(early)),
      heard_at_(net::now()) {}

void WatchedLink::start() {
  started_ = true;
  heard_at_ = net::now();
  link_.start();
}

void WatchedLink::say_and_close(std::string_view frame_bytes) {
  if (closing_) return;
  if (!frame_bytes.empty()) link_.send_raw(frame_bytes);
  closing_ = true;
  link_.close_after_flush(kLastWords);
}

void WatchedLink::set_paused(bool paused) {
  if (paused == paused_ || closing_) return;
  paused_ = paused;
  if (paused) {
    link_.pause_reading();
  } else {
    heard_at_ = net::now();
    link_.resume_reading();
  }
}

bool WatchedLink::beat(Instant now, Duration heartbeat, unsigned silent_max) {
  if (closing_ || paused_ || !started_) return true;
  const auto quiet = now - heard_at_;
  if (quiet > heartbeat * (silent_max + 1)) return false;
  if (quiet >= heartbeat && now - pinged_at_ >= heartbeat) {
    pinged_at_ = now;
    link_.send(wire::Ping{static_cast<std::uint64_t>(now.time_since_epoch().count())});
  }
  return true;
}

void WatchedLink::on_frame(const wire::Frame& frame, std::string_view raw) {
  if (closing_) return;
  if (const auto* ping = std::get_if<wire::Ping>(&frame)) {
    link_.send(wire::Pong{ping->token});
  } else if (!std::holds_alternative<wire::Pong>(frame)) {
    on_link_frame(frame, raw);
  }
}

void WatchedLink::on_read_batch_end() {
  heard_at_ = net::now();
}

void WatchedLink::on_writable() {
  on_link_writable();
}

void WatchedLink::on_closed(const Error& why) {
  on_link_closed(why);
}

}  // namespace everspan::relay
