// One end of one session under load: the product's SessionEnd, driver and dialer, with numbered
// bytes instead of a program. All on one executor. close() is awaited before destruction.
#pragma once
#include <memory>
#include <string>

#include "common/crypto.h"
#include "console/session_request.h"
#include "load_flow.h"
#include "net/async.h"
#include "net/tls.h"
#include "relay/legs/end_driver.h"

namespace everspan::bench {

// Of all ends of the process.
struct LoadCounters {
  std::uint64_t moves = 0;   // Legs that were opened because of a Migrate, in this window.
  std::uint64_t losses = 0;  // Legs that were opened after one broke.
  std::uint64_t failed_dials = 0;
  std::uint64_t ended = 0;
  std::string last_problem;
  Instant first_move{};
  Instant last_move{};
};

struct EndParts {
  net::Executor executor;
  const net::TlsContext& tls;
  const SigningKey& key;
  LoadCounters& counters;
};

class LoadEnd final : public relay_legs::EndDriver::Dialer,
                      public relay_legs::EndDriver::Application {
 public:
  // `out` and `in` outlive it. `bulk`: sends as much as there is room for.
  LoadEnd(EndParts parts, const console::GrantedSession& session, relay_end::Side side, Flow& out,
          Flow& in, bool bulk);
  ~LoadEnd() override;

  void send_message();  // One message is due.
  void stop_sending() { sending_ = false; }
  void request_end();
  [[nodiscard]] bool open() const { return open_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] net::Task<void> close();

  void dial(const relay_end::Dial& dial) override;
  void on_readable(std::uint32_t channel) override;
  void on_writable(std::uint32_t channel) override;
  void on_control(const std::string& session_control) override;
  void on_channel_gone(std::uint32_t channel, const std::string& code,
                       const std::string& message) override;
  void on_leg(bool up) override;
  void on_ended(const std::string& code, const std::string& message) override;

 private:
  net::Task<void> open_leg(relay_end::Dial dial);
  void send_owed();
  void begin();

  EndParts parts_;
  relay_end::Side side_;
  std::string session_id_;
  std::string signed_grant_;
  Flow& out_;
  Flow& in_;
  bool bulk_;
  bool sending_ = true;
  bool open_ = false;
  bool ended_ = false;
  net::TaskScope tasks_;
  relay_legs::EndDriver driver_;
};

}  // namespace everspan::bench
