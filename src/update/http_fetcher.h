// Fetcher over HTTP(S) by libcurl. TLS 1.2 or later, certificates checked; `http://` is allowed to
// a loopback address only; no redirects, no other scheme. Blocking: call from a pool thread. One
// per thread.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "update/fetcher.h"

namespace everspan::update {

struct HttpFetcherOptions {
  std::string ca_pem;  // Roots to trust instead of the system's; empty: the system's.
  std::chrono::milliseconds connect_timeout{10000};
  // No byte for so long ends a transfer; there is no limit on the whole, which may be large.
  std::chrono::milliseconds stall_timeout{20000};
  std::string user_agent;                     // "everspan/<version>" if empty.
  const std::atomic<bool>* cancel = nullptr;  // Set: the transfer ends with "cancelled".
};

class HttpFetcher : public Fetcher {
 public:
  explicit HttpFetcher(HttpFetcherOptions options);
  ~HttpFetcher() override;
  [[nodiscard]] Result<void> get(const std::string& url, std::uint64_t from,
                                 std::uint64_t bytes_max, const Sink& sink) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace everspan::update
