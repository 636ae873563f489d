// What a SessionEnd knows about one of its channels besides the bytes. Private to relay/end.
#pragma once
#include <memory>
#include <optional>

#include "relay/end/session_end.h"

namespace everspan::relay_end {

struct SessionEnd::Slot {
  std::unique_ptr<ChannelEnd> end;
  bool opened = false;      // False: bytes came before their OpenChannel.
  bool held = false;        // After a loss, until the peer says where to go on (S3).
  bool wants_room = false;  // write() took less than it was given.
  bool closed_sent = false;
  bool closed_received = false;
  Instant progress_at{};  // Last time that something was acknowledged, or nothing was open.
  Duration stall{};       // Patience until the next probe; doubles.
  std::optional<Instant> hole_since;
  std::optional<Instant> ack_since;  // An acknowledgement waits for company (S7).
};

}  // namespace everspan::relay_end
