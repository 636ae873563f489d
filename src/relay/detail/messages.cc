#include "relay/detail/messages.h"

namespace everspan::relay {

std::string control_frame(const pb::LinkMessage& message) {
  std::string frame;
  wire::append_frame(frame, wire::Control{message.SerializeAsString()});
  return frame;
}

void write_refuse(const Error& why, std::uint32_t retry_after_ms, pb::Refuse& out) {
  out.set_code(why.code);
  out.set_message(why.message);
  out.set_next(why.next);
  out.set_retry_after_ms(retry_after_ms);
}

std::string refuse_frame(const Error& why, std::uint32_t retry_after_ms) {
  pb::LinkMessage message;
  write_refuse(why, retry_after_ms, *message.mutable_refuse());
  return control_frame(message);
}

std::string notice_frame(const NoticeInfo& notice) {
  pb::LinkMessage message;
  message.mutable_notice()->set_text(notice.text);
  message.mutable_notice()->set_level(notice.level);
  return control_frame(message);
}

namespace {

void write_candidate(const OrdersInfo& orders, std::size_t i, pb::Candidate& out) {
  out.set_host(orders.candidates[i].host);
  out.set_port(orders.candidates[i].port);
  if (i < orders.names.size()) out.set_node(orders.names[i]);
}

}  // namespace

void write_orders(const OrdersInfo& orders, pb::Orders& out) {
  for (std::size_t i = 0; i < orders.candidates.size(); ++i)
    write_candidate(orders, i, *out.add_candidates());
  out.set_redial_after_ms(orders.redial_after_ms);
  out.set_redial_spread_ms(orders.redial_spread_ms);
  out.set_heartbeat_ms(orders.heartbeat_ms);
}

void write_candidates(const OrdersInfo& orders, pb::Migrate& out) {
  for (std::size_t i = 0; i < orders.candidates.size(); ++i)
    write_candidate(orders, i, *out.add_candidates());
}

bool read_side(std::uint32_t value, Side& out) {
  if (value != 1 && value != 2) return false;
  out = static_cast<Side>(value);
  return true;
}

}  // namespace everspan::relay
