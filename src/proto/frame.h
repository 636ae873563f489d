// Frames of an `everspan/1` link (docs/decisions/2026-11-23-link-protocol.md). Pure bytes.
//
//   u32 size of what follows | u8 type | body            (numbers big-endian)
//
//   control   LinkMessage (protobuf)
//   data      u32 channel | u8 flags | u64 offset | payload     flags bit 0: FIN
//   ack       u32 channel | u64 received | u64 window_end       all below `received` was consumed
//   resume    as ack: send again from `received`
//   recorded  u32 channel | u64 durable                          the recorder holds all below
//   barrier   (empty) the last frame of this leg in this direction
//   ping/pong u64 token
//
// Offsets number the bytes of one channel in one direction from 0. FIN takes one number of its own,
// after the last byte, so that an acknowledgement of `last + 1` acknowledges it too.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan::wire {

inline constexpr std::size_t kFrameHeaderBytes = 5;  // size and type
inline constexpr std::size_t kDataHeaderBytes = 4 + 1 + 8;
inline constexpr std::size_t kPayloadBytesMax = 64 * 1024;  // one read of a fast stream
inline constexpr std::size_t kControlBytesMax = 64 * 1024;  // far above any message of ours
inline constexpr std::size_t kFrameBytesMax = kDataHeaderBytes + kPayloadBytesMax + 1;
inline constexpr std::size_t kHelloBytesMax = 16 * 1024;  // before authentication (CONTRACT)

inline constexpr std::uint32_t kWireMin = 1;
inline constexpr std::uint32_t kWireMax = 2;     // 2: Notice.
inline constexpr std::uint32_t kWireNotice = 2;  // From here on an end knows Notice.
inline constexpr std::string_view kAlpn = "everspan/1";
inline constexpr std::string_view kExporterLabel = "EXPORTER-everspan-attach";

// What two ends speak: the newest version that both know; nullopt: none.
[[nodiscard]] std::optional<std::uint32_t> common_version(std::uint32_t other_min,
                                                          std::uint32_t other_max);

enum class FrameType : std::uint8_t {
  control = 0,
  data = 1,
  ack = 2,
  resume = 3,
  recorded = 4,
  barrier = 5,
  ping = 6,
  pong = 7,
};

struct Control {
  std::string_view message;  // LinkMessage bytes, not parsed here.
};
struct Data {
  std::uint32_t channel = 0;
  bool fin = false;
  std::uint64_t offset = 0;
  std::string_view payload;
};
struct Ack {
  std::uint32_t channel = 0;
  std::uint64_t received = 0;
  std::uint64_t window_end = 0;
};
struct Resume {
  std::uint32_t channel = 0;
  std::uint64_t received = 0;
  std::uint64_t window_end = 0;
};
struct Recorded {
  std::uint32_t channel = 0;
  std::uint64_t durable = 0;
};
struct Barrier {};
struct Ping {
  std::uint64_t token = 0;
};
struct Pong {
  std::uint64_t token = 0;
};
// Views into the parsed bytes: valid as long as those are.
using Frame = std::variant<Control, Data, Ack, Resume, Recorded, Barrier, Ping, Pong>;

// One whole frame at the front of `bytes`; nullopt: more bytes are needed. A frame that breaks a
// limit or has an unknown type is an error: the link ends. `size` is set to the bytes used.
[[nodiscard]] Result<std::optional<Frame>> parse_frame(std::string_view bytes, std::size_t& size);

void append_frame(std::string& out, const Frame& frame);

// The 18 bytes in front of a payload, for gathered writes without copying it.
void append_data_header(std::string& out, std::uint32_t channel, bool fin, std::uint64_t offset,
                        std::size_t payload_size);

}  // namespace everspan::wire
