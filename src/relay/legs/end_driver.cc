#include "relay/legs/end_driver.h"

#include <utility>

#include "net/frame_link.h"

namespace everspan::relay_legs {

using namespace relay_end;

constexpr Duration kFlushMax = std::chrono::seconds(2);

// One link. `closing`: the session has no more interest in it, it only sends what is left.
class EndDriver::Leg : public net::FrameLink::Handler {
 public:
  Leg(EndDriver& driver, std::uint64_t generation, std::unique_ptr<net::Transport> transport,
      std::string early)
      : driver_(driver),
        generation_(generation),
        link_(driver.executor_, std::move(transport), *this, std::move(early)) {}

  void start() { link_.start(); }
  void send(std::string_view frames) {
    if (closing_) return;
    link_.send_raw(frames);
    link_.flush();
  }
  void close() {
    if (std::exchange(closing_, true)) return;
    link_.close_after_flush(kFlushMax);
  }
  void silence() { link_.close(); }
  [[nodiscard]] std::size_t pending() const { return link_.pending_bytes(); }

  void on_frame(const wire::Frame& frame, std::string_view) override {
    if (!closing_) driver_.session_.leg_frame(generation_, frame, net::now());
  }
  void on_read_batch_end() override { driver_.pump(); }
  void on_closed(const Error&) override { driver_.leg_closed(generation_); }
  [[nodiscard]] bool closing() const { return closing_; }

 private:
  EndDriver& driver_;
  std::uint64_t generation_;
  bool closing_ = false;
  net::FrameLink link_;
};

EndDriver::EndDriver(net::Executor executor, SessionOptions options, Dialer& dialer,
                     Application& application)
    : executor_(executor),
      session_(std::move(options), net::now()),
      dialer_(dialer),
      application_(application),
      self_(std::make_shared<EndDriver*>(this)),
      timer_(executor) {}

EndDriver::~EndDriver() {
  *self_ = nullptr;
}

void EndDriver::start() {
  session_.start(net::now());
  pump();
}

void EndDriver::adopt(std::uint64_t generation, std::unique_ptr<net::Transport> transport,
                      std::string early) {
  if (!session_.wants_leg(generation)) return transport->close();  // It came too late.
  auto& leg = legs_[generation];
  leg = std::make_unique<Leg>(*this, generation, std::move(transport), std::move(early));
  leg->start();
}

void EndDriver::dial_failed(std::uint64_t generation) {
  session_.leg_failed(generation, net::now());
  pump();
}

void EndDriver::fail_all_legs() {
  std::vector<std::uint64_t> lost;
  for (const auto& [generation, leg] : legs_)
    if (!leg->closing()) lost.push_back(generation);
  for (const std::uint64_t generation : lost) leg_closed(generation);
}

void EndDriver::leg_closed(std::uint64_t generation) {
  const auto at = legs_.find(generation);
  if (at == legs_.end()) return;
  const bool expected = at->second->closing();
  bury(generation);
  if (!expected) session_.leg_failed(generation, net::now());
  pump();
}

// Not at once: its link may be in the middle of a call.
void EndDriver::bury(std::uint64_t generation) {
  auto node = legs_.extract(generation);
  node.mapped()->silence();
  net::asio::post(executor_, [dead = std::shared_ptr<Leg>(std::move(node.mapped()))]() mutable {
    dead.reset();
  });
}

std::size_t EndDriver::unsent_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [generation, leg] : legs_) bytes += leg->pending();
  return bytes;
}

void EndDriver::pump() {
  if (std::exchange(pumping_, true)) {
    again_ = true;
    return;
  }
  const auto self = self_;
  do {
    again_ = false;
    drain_actions();
    if (*self == nullptr) return;  // The application ended us.
  } while (again_);
  pumping_ = false;
  arm_timer();
}

void EndDriver::drain_actions() {
  const auto self = self_;
  checkpoint();
  for (auto actions = session_.take_actions(); !actions.empty();
       actions = session_.take_actions()) {
    for (auto& action : actions) {
      perform(action);
      if (*self == nullptr) return;
    }
    checkpoint();
  }
}

void EndDriver::perform(Action& action) {
  if (auto* frames = std::get_if<SendFrames>(&action)) {
    if (const auto at = legs_.find(frames->leg); at != legs_.end()) at->second->send(frames->bytes);
  } else if (auto* readable = std::get_if<Readable>(&action)) {
    application_.on_readable(readable->channel);
  } else if (auto* writable = std::get_if<Writable>(&action)) {
    application_.on_writable(writable->channel);
  } else if (auto* control = std::get_if<ControlMessage>(&action)) {
    application_.on_control(control->bytes);
  } else if (auto* dial = std::get_if<Dial>(&action)) {
    dialer_.dial(*dial);
  } else if (auto* close = std::get_if<CloseLeg>(&action)) {
    if (const auto at = legs_.find(close->leg); at != legs_.end()) at->second->close();
  } else if (auto* gone = std::get_if<ChannelGone>(&action)) {
    application_.on_channel_gone(gone->channel, gone->code, gone->message);
  } else if (std::holds_alternative<LegUp>(action)) {
    application_.on_leg(true);
  } else if (std::holds_alternative<LegDown>(action)) {
    application_.on_leg(false);
  } else if (auto* notice = std::get_if<NodeNotice>(&action)) {
    application_.on_notice(notice->text);
  } else if (auto* ended = std::get_if<Ended>(&action)) {
    application_.on_ended(ended->code, ended->message);
  }
}

void EndDriver::arm_timer() {
  const Instant at = session_.wake_at();
  if (at == timer_at_) return;
  timer_at_ = at;
  timer_.cancel();
  if (at == Instant::max()) return;
  timer_.expires_at(net::TimerClock::time_point{at.time_since_epoch()});
  timer_.async_wait([self = self_, at](boost::system::error_code error) {
    EndDriver* driver = *self;
    if (error || driver == nullptr || driver->timer_at_ != at) return;
    driver->timer_at_ = Instant::max();
    driver->session_.tick(net::now());
    driver->pump();
  });
}

}  // namespace everspan::relay_legs
