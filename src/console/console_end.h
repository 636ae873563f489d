// What connect and tunnel share: the console's key, its session, and its legs over TLS.
//
// One executor. stop() is awaited before destruction.
#pragma once
#include <memory>
#include <string>

#include "common/crypto.h"
#include "console/session_request.h"
#include "net/async.h"
#include "net/tls.h"
#include "relay/legs/end_driver.h"

namespace everspan::console {

class ConsoleEnd : public relay_legs::EndDriver::Dialer {
 public:
  ConsoleEnd(net::Executor executor, GrantedSession session, SigningKey key, net::TlsContext tls,
             std::uint64_t generation_used, relay_legs::EndDriver::Application& application);
  ~ConsoleEnd() override;

  [[nodiscard]] relay_legs::EndDriver& driver() { return *driver_; }
  [[nodiscard]] net::TaskScope& tasks() { return tasks_; }
  [[nodiscard]] const std::string& last_problem() const { return last_problem_; }
  [[nodiscard]] const GrantedSession& granted() const { return session_; }
  [[nodiscard]] const SigningKey& key() const { return key_; }
  [[nodiscard]] net::Task<void> stop();  // After what was sent has left, or 2 s.
  void dial(const relay_end::Dial& dial) override;

 private:
  net::Task<void> open(relay_end::Dial dial);

  net::Executor executor_;
  GrantedSession session_;
  SigningKey key_;
  net::TlsContext tls_;
  std::string last_problem_;
  net::TaskScope tasks_;
  std::unique_ptr<relay_legs::EndDriver> driver_;
};

}  // namespace everspan::console
