// One HTTP/1.1 connection, served over a Transport that has shaken hands (RFC 9112). Requests are
// answered one after another in the order in which they came; nothing of a request reaches the
// handler before it is whole and within its limits.
//
// Whatever a peer sends, it costs at most the header limit, the body limit and the time limits. A
// broken request is answered with 4xx and the connection ends: what is still on its way is read and
// thrown away first, within `linger_bytes` and `linger`, for closing on unread bytes resets the
// connection and takes the answer from a client that is still sending. Every answer carries
// Content-Length, HSTS, nosniff and no-store.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "http/message.h"
#include "net/async.h"
#include "net/transport.h"

namespace everspan::http {

inline constexpr std::size_t kHeaderBytesMax = 16 * 1024;
inline constexpr std::size_t kBodyBytesMax = 1024 * 1024;
// Read away behind a refusal: a body that is far too large in good faith, not one without end.
inline constexpr std::size_t kLingerBytesMax = 4 * 1024 * 1024;

class Handler {
 public:
  virtual ~Handler() = default;
  // Must outlive the connections that it serves. Never throws.
  virtual net::Task<Response> handle(Request request) = 0;
  // Asked when the head is there and the body is not read yet (`head.body` is empty). 0: none
  // allowed.
  [[nodiscard]] virtual std::size_t body_bytes_max(const Request& head) const {
    return kBodyBytesMax;
  }
};

struct Limits {
  std::size_t header_bytes = kHeaderBytesMax;
  Duration idle = std::chrono::seconds(60);  // Between two requests.
  Duration head = std::chrono::seconds(5);   // From a head's first byte to its last.
  Duration body = std::chrono::seconds(60);
  Duration write = std::chrono::seconds(60);
  Duration linger = std::chrono::seconds(5);  // Behind a refusal, until the peer ends.
  std::size_t linger_bytes = kLingerBytesMax;
  int requests_max = 10'000;  // Of one connection.
};

// Set once, by any thread: connections answer the request under way with `Connection: close`, and
// those that wait for the next one end when it is answered or `idle` passes.
struct Drain {
  std::atomic<bool> requested{false};
};

// Ends when the connection does. `early`: bytes that were read already. `handler` and `drain`
// outlive it.
[[nodiscard]] net::Task<void> serve_http(std::unique_ptr<net::Transport> transport,
                                         std::string early, Handler& handler, Limits limits,
                                         const Drain& drain);

}  // namespace everspan::http
