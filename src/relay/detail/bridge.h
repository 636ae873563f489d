// The stream between the old and the new site process of this node.
//
//   u32 size of what follows | u8 kind | 16 bytes key | body            (big-endian)
//
//   message  BridgeMessage
//            key: session or endpoint id (which thread it belongs to); hello: zero
//   frame    u8 side | one link frame, for the leg of that side at the receiver
//            key: session id
//
// Both begin with a hello. Bytes of one key stay in order. Threads: start(), send() and close()
// from any thread; Events are called on the bridge's executor. A form error ends the bridge: the
// other process is no stranger, so that is a bug or a version that we cannot speak to.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"
#include "net/async.h"
#include "net/fd.h"
#include "relay/core/types.h"

namespace everspan::pb {
class BridgeMessage;
}

namespace everspan::relay {

enum class BridgeKind : std::uint8_t { message = 1, frame = 2 };
inline constexpr std::size_t kBridgeKeyBytes = 16;
inline constexpr std::size_t kBridgeRecordBytesMax = 1 << 20;
inline constexpr std::uint32_t kBridgeProtocol = 1;

struct BridgeRecord {
  BridgeKind kind = BridgeKind::message;
  std::string_view key;
  std::string_view body;
};
// One record at the front; nullopt: more bytes are needed. Code bad_bridge.
[[nodiscard]] Result<std::optional<BridgeRecord>> parse_bridge(std::string_view bytes,
                                                               std::size_t& size);
void append_bridge_message(std::string& out, std::string_view key,
                           const pb::BridgeMessage& message);
void append_bridge_frame(std::string& out, std::string_view session, Side side,
                         std::string_view frame);

class Bridge : public std::enable_shared_from_this<Bridge> {
 public:
  struct Events {
    // Whole records that came in one read, hello left out, all keys mixed, in order.
    std::function<void(std::string records)> on_records;
    std::function<void(bool above_high_water)> on_pressure;
    std::function<void(const Error& why)> on_closed;  // Once; nothing after it.
  };
  static constexpr std::size_t kHighWater = 4 << 20;
  static constexpr std::size_t kLowWater = 1 << 20;

  Bridge(net::Executor executor, net::Fd stream, Events events, std::string node_id);
  ~Bridge();
  void start();
  void send(std::string records);
  void close();  // on_closed is not called any more.

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace everspan::relay
