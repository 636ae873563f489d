// Runs a SessionEnd over real links and clocks: its actions become writes, timers and calls to the
// application; what comes in becomes its events.
//
// One executor; all calls on it. The Application and the Dialer outlive the driver, and are called
// from pump() only, never from inside a call of theirs into the driver (but from pump() itself).
// After a call into session() the caller says pump().
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/async.h"
#include "net/transport.h"
#include "relay/end/session_end.h"

namespace everspan::relay_legs {

class EndDriver {
 public:
  class Dialer {
   public:
    virtual ~Dialer() = default;
    // Answer later by adopt() or dial_failed(), with the same generation.
    virtual void dial(const relay_end::Dial& dial) = 0;
  };
  class Application {
   public:
    virtual ~Application() = default;
    virtual void on_readable(std::uint32_t channel) = 0;
    virtual void on_writable(std::uint32_t channel) = 0;
    virtual void on_control(const std::string& session_control) = 0;
    virtual void on_channel_gone(std::uint32_t channel, const std::string& code,
                                 const std::string& message) = 0;
    virtual void on_leg(bool up) = 0;
    virtual void on_notice(const std::string& /*text*/) {}  // Foreign text, for a person.
    virtual void on_ended(const std::string& code, const std::string& message) = 0;
  };

  EndDriver(net::Executor executor, relay_end::SessionOptions options, Dialer& dialer,
            Application& application);
  EndDriver(const EndDriver&) = delete;
  EndDriver& operator=(const EndDriver&) = delete;
  ~EndDriver();

  // Called before anything leaves that session() has decided since the last time: what must be on
  // disk by then is written there.
  std::function<void()> before_actions;
  void start();
  [[nodiscard]] relay_end::SessionEnd& session() { return session_; }
  void pump();
  void adopt(std::uint64_t generation, std::unique_ptr<net::Transport> transport,
             std::string early);
  void dial_failed(std::uint64_t generation);
  void fail_all_legs();                            // Their carrier is gone.
  [[nodiscard]] std::size_t unsent_bytes() const;  // In links that are open or closing.

 private:
  class Leg;
  friend class Leg;
  void checkpoint() const {
    if (before_actions) before_actions();
  }
  void drain_actions();
  void perform(relay_end::Action& action);
  void arm_timer();
  void leg_closed(std::uint64_t generation);
  void bury(std::uint64_t generation);

  net::Executor executor_;
  relay_end::SessionEnd session_;
  Dialer& dialer_;
  Application& application_;
  std::map<std::uint64_t, std::unique_ptr<Leg>> legs_;
  std::shared_ptr<EndDriver*> self_;  // Emptied at destruction, for what is posted.
  net::Timer timer_;
  Instant timer_at_ = Instant::max();
  bool pumping_ = false;
  bool again_ = false;
};

}  // namespace everspan::relay_legs
