// A FrameLink with its heartbeats: what legs and standing links have in common. One thread.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "net/async.h"
#include "net/frame_link.h"
#include "proto/frame.h"

namespace everspan::relay {

class WatchedLink : public net::FrameLink::Handler {
 public:
  WatchedLink(net::Executor executor, std::unique_ptr<net::Transport> transport, std::string early);
  ~WatchedLink() override = default;

  void start();
  [[nodiscard]] bool started() const { return started_; }
  void send(std::string_view frame_bytes) { link_.send_raw(frame_bytes); }
  void send_frame(const wire::Frame& frame) { link_.send(frame); }
  // Last words, then on_link_closed.
  void say_and_close(std::string_view frame_bytes);
  [[nodiscard]] bool closing() const { return closing_; }
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] std::size_t pending_bytes() const { return link_.pending_bytes(); }
  [[nodiscard]] bool above_high_water() const { return link_.above_high_water(); }

  void set_paused(bool paused);
  // Pings after a quiet heartbeat; false: silent for too long. A link that is not read is not
  // judged.
  [[nodiscard]] bool beat(Instant now, Duration heartbeat, unsigned silent_max);

 protected:
  virtual void on_link_frame(const wire::Frame& frame, std::string_view raw) = 0;
  virtual void on_link_writable() {}
  virtual void on_link_closed(const Error& why) = 0;  // May destroy this.

 private:
  void on_frame(const wire::Frame& frame, std::string_view raw) final;
  void on_read_batch_end() final;
  void on_writable() final;
  void on_closed(const Error& why) final;

  std::string address_;
  net::FrameLink link_;
  Instant heard_at_;
  Instant pinged_at_;
  bool paused_ = false;
  bool closing_ = false;
  bool started_ = false;
};

}  // namespace everspan::relay
