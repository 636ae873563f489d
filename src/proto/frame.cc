#include "proto/frame.h"

#include <algorithm>

#include "common/check.h"

namespace everspan::wire {
namespace {

constexpr std::size_t kAckBytes = 4 + 8 + 8;
constexpr std::size_t kRecordedBytes = 4 + 8;

std::unexpected<Error> bad(const char* what) {
  return fail("bad_frame", what);
}

Result<Frame> parse_body(std::uint8_t type, const std::uint8_t* body, std::size_t size) {
  const auto rest = [&](std::size_t from) {
    return std::string_view(reinterpret_cast<const char*>(body) + from, size - from);
  };
  switch (type) {
    case static_cast<std::uint8_t>(FrameType::control):
      if (size > kControlBytesMax) return bad("A control frame is too long");
      return Frame(Control{rest(0)});
    case static_cast<std::uint8_t>(FrameType::data): {
      if (size < kDataHeaderBytes) return bad("A data frame is cut");
      if (body[4] > 1) return bad("A data frame has unknown flags");
      const Data data{.channel = get_u32(body),
                      .fin = body[4] == 1,
                      .offset = get_u64(body + 5),
                      .payload = rest(kDataHeaderBytes)};
      // An offset near the end of its range could wrap in the receiver's sums.
      if (data.offset > (1ULL << 62)) return bad("A data frame's offset is out of range");
      if (data.payload.empty() && !data.fin) return bad("A data frame is empty");
      return Frame(data);
    }
    case static_cast<std::uint8_t>(FrameType::ack):
      if (size != kAckBytes) return bad("An ack frame has the wrong size");
      return Frame(Ack{get_u32(body), get_u64(body + 4), get_u64(body + 12)});
    case static_cast<std::uint8_t>(FrameType::resume):
      if (size != kAckBytes) return bad("A resume frame has the wrong size");
      return Frame(Resume{get_u32(body), get_u64(body + 4), get_u64(body + 12)});
    case static_cast<std::uint8_t>(FrameType::recorded):
      if (size != kRecordedBytes) return bad("A recorded frame has the wrong size");
      return Frame(Recorded{get_u32(body), get_u64(body + 4)});
    case static_cast<std::uint8_t>(FrameType::barrier):
      if (size != 0) return bad("A barrier frame has the wrong size");
      return Frame(Barrier{});
    case static_cast<std::uint8_t>(FrameType::ping):
      if (size != 8) return bad("A ping frame has the wrong size");
      return Frame(Ping{get_u64(body)});
    case static_cast<std::uint8_t>(FrameType::pong):
      if (size != 8) return bad("A pong frame has the wrong size");
      return Frame(Pong{get_u64(body)});
    default:
      return bad("A frame has an unknown type");
  }
}

void begin(std::string& out, FrameType type, std::size_t body_size) {
  put_u32(out, static_cast<std::uint32_t>(body_size + 1));
  out += static_cast<char>(type);
}

}  // namespace

std::optional<std::uint32_t> common_version(std::uint32_t other_min, std::uint32_t other_max) {
  const std::uint32_t least = std::max(kWireMin, other_min);
  const std::uint32_t most = std::min(kWireMax, other_max);
  if (least > most) return std::nullopt;
  return most;
}

Result<std::optional<Frame>> parse_frame(std::string_view bytes, std::size_t& size) {
  size = 0;
  if (bytes.size() < kFrameHeaderBytes) return std::optional<Frame>{};
  const auto* at = reinterpret_cast<const std::uint8_t*>(bytes.data());
  const std::size_t rest = get_u32(at);
  if (rest < 1 || rest > kFrameBytesMax) return bad("A frame's size is out of range");
  if (bytes.size() < 4 + rest) return std::optional<Frame>{};
  auto frame = parse_body(at[4], at + kFrameHeaderBytes, rest - 1);
  if (!frame) return fail(frame);
  size = 4 + rest;
  return std::optional<Frame>(*frame);
}

void append_data_header(std::string& out, std::uint32_t channel, bool fin, std::uint64_t offset,
                        std::size_t payload_size) {
  check(payload_size <= kPayloadBytesMax, "a payload fits its frame");
  begin(out, FrameType::data, kDataHeaderBytes + payload_size);
  put_u32(out, channel);
  out += static_cast<char>(fin ? 1 : 0);
  put_u64(out, offset);
}

namespace {

struct Appender {
  std::string& out;

  void operator()(const Control& c) const {
    check(c.message.size() <= kControlBytesMax, "a control message fits its frame");
    begin(out, FrameType::control, c.message.size());
    out += c.message;
  }
  void operator()(const Data& d) const {
    append_data_header(out, d.channel, d.fin, d.offset, d.payload.size());
    out += d.payload;
  }
  void ack_like(FrameType type, std::uint32_t channel, std::uint64_t a, std::uint64_t b) const {
    begin(out, type, kAckBytes);
    put_u32(out, channel);
    put_u64(out, a);
    put_u64(out, b);
  }
  void operator()(const Ack& a) const {
    ack_like(FrameType::ack, a.channel, a.received, a.window_end);
  }
  void operator()(const Resume& r) const {
    ack_like(FrameType::resume, r.channel, r.received, r.window_end);
  }
  void operator()(const Recorded& r) const {
    begin(out, FrameType::recorded, kRecordedBytes);
    put_u32(out, r.channel);
    put_u64(out, r.durable);
  }
  void operator()(const Barrier&) const { begin(out, FrameType::barrier, 0); }
  void operator()(const Ping& p) const {
    begin(out, FrameType::ping, 8);
    put_u64(out, p.token);
  }
  void operator()(const Pong& p) const {
    begin(out, FrameType::pong, 8);
    put_u64(out, p.token);
  }
};

}  // namespace

void append_frame(std::string& out, const Frame& frame) {
  std::visit(Appender{out}, frame);
}

}  // namespace everspan::wire
