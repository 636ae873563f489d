// A link of `everspan/1` frames over a Transport, driven by readiness: the data path of relay,
// agent, session-host and console. No coroutine per frame, no copy of a payload before it leaves,
// one gathered write a wakeup.
//
// Reading: when the descriptor is readable, bytes are read into a large buffer that all links of a
// thread share, and each whole frame is handed to the Handler as views into it; only the rest of a
// cut frame is kept per link. Writing: frames are appended to one output buffer and leave at the
// end of the wakeup (or at flush()); what the socket does not take waits.
//
// One executor per link, all calls on it. The Handler outlives the link or calls close() first.
// After on_closed() (exactly once) nothing else is called. A handler may close or destroy the link
// from inside a callback.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/result.h"
#include "net/async.h"
#include "net/transport.h"
#include "proto/frame.h"

namespace everspan::net {

class FrameLink {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    // The views in `frame` end with the call. `raw` is the frame as it came, header included, for
    // forwarding unchanged.
    virtual void on_frame(const wire::Frame& frame, std::string_view raw) = 0;
    virtual void on_read_batch_end() {}  // All frames of one wakeup were given.
    virtual void on_writable() {
    }  // Pending output fell below kLowWater after being above kHighWater.
    virtual void on_closed(const Error& why) = 0;  // code "closed": orderly
  };

  static constexpr std::size_t kHighWater = 512 * 1024;
  static constexpr std::size_t kLowWater = 128 * 1024;

  // `early`: bytes that were read already behind a hello. Takes frames of at most
  // `frame_bytes_max`.
  FrameLink(Executor executor, std::unique_ptr<Transport> transport, Handler& handler,
            std::string early = {});
  FrameLink(const FrameLink&) = delete;
  FrameLink& operator=(const FrameLink&) = delete;
  ~FrameLink();

  void start();
  void send(const wire::Frame& frame);
  void send_raw(std::string_view frame_bytes);
  void flush();
  void pause_reading();
  void resume_reading();
  void close();                              // Now; on_closed is not called.
  void close_after_flush(Duration at_most);  // Refuse politely; then on_closed("closed").
  [[nodiscard]] std::size_t pending_bytes() const;
  [[nodiscard]] bool above_high_water() const { return pending_bytes() > kHighWater; }
  [[nodiscard]] Transport& transport();
  // Takes the transport out, with bytes read but not yet given as frames (to move a link to another
  // thread). Only with pending_bytes() == 0. on_closed is not called.
  [[nodiscard]] std::unique_ptr<Transport> release(std::string& early);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Reads one control frame (a hello) before a FrameLink exists. `early` keeps what came behind it.
[[nodiscard]] Task<Result<std::string>> read_control(Transport& transport, std::string& early,
                                                     std::size_t bytes_max, Instant deadline);
[[nodiscard]] Task<Result<void>> write_all(Transport& transport, std::string bytes,
                                           Instant deadline);
// Up to `bytes_max` bytes; an empty string is an orderly end.
[[nodiscard]] Task<Result<std::string>> read_some(Transport& transport, std::size_t bytes_max,
                                                  Instant deadline);

}  // namespace everspan::net
