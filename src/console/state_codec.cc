#include "console/state_codec.h"

#include "proto/console.pb.h"

namespace everspan::console {
namespace {

constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kOffsetMax = 1ULL << 62;

bool is_sound(const relay_end::ChannelState& c) {
  const std::uint64_t end = c.base + c.kept.size();
  return c.base <= kOffsetMax && c.sent_max <= end + (c.finished ? 1 : 0) &&
         c.acked <= c.sent_max && c.recorded <= c.sent_max && c.base <= c.sent_max &&
         c.consumed <= c.advertised && c.advertised <= kOffsetMax;
}

}  // namespace

std::string encode_console(const SavedConsole& saved) {
  pb::ConsoleState out;
  out.set_version(kVersion);
  out.set_key_seed(saved.key_seed);
  out.mutable_grant()->ParseFromString(saved.signed_grant);
  for (const auto& c : saved.session.candidates) {
    auto& to = *out.add_candidates();
    to.set_host(c.host);
    to.set_port(c.port);
    to.set_node(c.node);
  }
  out.set_generation_used(saved.session.generation_used);
  out.set_highest_odd(saved.session.highest_odd);
  out.set_highest_even(saved.session.highest_even);
  out.set_control_backlog(saved.session.control_backlog);
  for (const auto& c : saved.session.channels) {
    auto& to = *out.add_channels();
    to.set_number(c.number);
    to.set_closed_sent(c.closed_sent);
    to.set_closed_received(c.closed_received);
    to.set_kept(c.bytes.kept);
    to.set_finished(c.bytes.finished);
    to.set_base(c.bytes.base);
    to.set_sent_max(c.bytes.sent_max);
    to.set_acked(c.bytes.acked);
    to.set_recorded(c.bytes.recorded);
    to.set_consumed(c.bytes.consumed);
    to.set_advertised(c.bytes.advertised);
  }
  out.set_no_terminal(saved.no_terminal);
  out.set_opened(saved.opened);
  out.set_exited(saved.exit.has_value());
  out.set_exit_status(static_cast<std::uint32_t>(saved.exit.value_or(0)));
  out.set_main_over(saved.main_over);
  out.set_error_over(saved.error_over);
  for (const auto& message : saved.session.unheard) out.add_unheard(message);
  auto& input = *out.mutable_input();
  input.set_taken(saved.input.taken);
  input.set_device(saved.input.device);
  input.set_inode(saved.input.inode);
  input.set_offset(saved.input.offset);
  return out.SerializeAsString();
}

Result<SavedConsole> decode_console(const std::string& bytes) {
  pb::ConsoleState in;
  if (!in.ParseFromString(bytes) || in.version() != kVersion)
    return fail("bad_state", "The console's state is of another release or damaged");
  SavedConsole out;
  out.key_seed = in.key_seed();
  out.signed_grant = in.grant().SerializeAsString();
  for (const auto& c : in.candidates())
    if (c.port() > 0 && c.port() < 65536)
      out.session.candidates.push_back({c.host(), static_cast<std::uint16_t>(c.port()), c.node()});
  out.session.generation_used = in.generation_used();
  out.session.highest_odd = in.highest_odd();
  out.session.highest_even = in.highest_even();
  out.session.control_backlog = in.control_backlog();
  for (const auto& c : in.channels()) {
    relay_end::SessionState::Channel channel{.number = c.number(),
                                             .closed_sent = c.closed_sent(),
                                             .closed_received = c.closed_received(),
                                             .bytes = {.kept = c.kept(),
                                                       .finished = c.finished(),
                                                       .base = c.base(),
                                                       .sent_max = c.sent_max(),
                                                       .acked = c.acked(),
                                                       .recorded = c.recorded(),
                                                       .consumed = c.consumed(),
                                                       .advertised = c.advertised()}};
    if (!is_sound(channel.bytes)) return fail("bad_state", "The console's state is damaged");
    out.session.channels.push_back(std::move(channel));
  }
  out.no_terminal = in.no_terminal();
  out.opened = in.opened();
  if (in.exited()) out.exit = static_cast<int>(in.exit_status());
  out.main_over = in.main_over();
  out.error_over = in.error_over();
  for (const auto& message : in.unheard()) {
    if (message.size() > relay_end::kControlMessageBytesMax)
      return fail("bad_state", "The console's state is damaged");
    out.session.unheard.push_back(message);
  }
  out.input = {.taken = in.input().taken(),
               .device = in.input().device(),
               .inode = in.input().inode(),
               .offset = in.input().offset()};
  return out;
}

}  // namespace everspan::console
