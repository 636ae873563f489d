// LinkMessages and BridgeMessages as bytes, in one place.
#pragma once
#include <string>
#include <string_view>

#include "common/ids.h"
#include "common/result.h"
#include "proto/bridge.pb.h"
#include "proto/frame.h"
#include "proto/link.pb.h"
#include "recording/core/types.h"
#include "relay/core/types.h"
#include "relay/services.h"

namespace everspan::relay {

[[nodiscard]] std::string control_frame(const pb::LinkMessage& message);
[[nodiscard]] std::string refuse_frame(const Error& why, std::uint32_t retry_after_ms = 0);
[[nodiscard]] std::string notice_frame(const NoticeInfo& notice);
void write_refuse(const Error& why, std::uint32_t retry_after_ms, pb::Refuse& out);
void write_orders(const OrdersInfo& orders, pb::Orders& out);
void write_candidates(const OrdersInfo& orders, pb::Migrate& out);

// Numbers of a peer, checked. nullopt-like: false.
[[nodiscard]] bool read_side(std::uint32_t value, Side& out);

// The direction of what a side sends.
[[nodiscard]] inline recording::Direction direction_of(Side from) {
  return from == Side::console ? recording::Direction::c2a : recording::Direction::a2c;
}

}  // namespace everspan::relay
