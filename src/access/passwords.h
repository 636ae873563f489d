// Password hashes: Argon2id by libsodium (crypto_pwhash_str), 64 MiB and 2 passes a hash, on
// threads of their own, never on an event loop. Checking a password of an account that is not there
// costs the same time. At most kPasswordQueueMax wait; more are refused (code slow_down).
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "common/result.h"
#include "net/async.h"

namespace everspan::access {

inline constexpr std::size_t kPasswordQueueMax = 64;  // 64 waiting take about 5 s on one thread.

// Blocks for about 0.1 s: for programs without a loop (making a site). The text carries its own
// parameters and salt.
[[nodiscard]] Result<std::string> hash_password(const std::string& password);
[[nodiscard]] bool verify_password(const std::string& hash, const std::string& password);

// Any executor may call; the answer comes back on the caller's.
class PasswordWorkers {
 public:
  explicit PasswordWorkers(unsigned threads = 1);
  PasswordWorkers(const PasswordWorkers&) = delete;
  PasswordWorkers& operator=(const PasswordWorkers&) = delete;
  ~PasswordWorkers();  // Waits for what is under way.

  [[nodiscard]] net::Task<Result<std::string>> hash(std::string password);
  // `hash` empty: no such account; the same work is done, and the answer is false.
  [[nodiscard]] net::Task<Result<bool>> verify(std::string hash, std::string password);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace everspan::access
