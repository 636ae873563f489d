// The model of the node: two site processes, a bridge, a recorder, and what befalls them.
#include <algorithm>

#include "channel_parts.h"

namespace everspan::sim {

// ---- The node ----

void ChannelWorld::to_end(const LegPtr& leg, std::string bytes) {
  leg->to_end = std::max(leg->to_end, now_ + delay());
  at(leg->to_end, [this, leg, bytes = std::move(bytes)] {
    if (!leg->alive || leg->dropped) return;
    SessionEnd& session = *ends_[leg->side]->session;
    std::string_view rest = bytes;
    while (!rest.empty()) {
      std::size_t size = 0;
      const auto frame = wire::parse_frame(rest, size);
      if (!frame || !*frame) {
        failure_ = "a frame is malformed";
        return;
      }
      session.leg_frame(leg->generation, **frame, now_);
      if (const auto* data = std::get_if<wire::Data>(&**frame))
        if (const auto* channel = session.channel(data->channel); channel && channel->has_hole())
          ++marks_.early;
      rest.remove_prefix(size);
    }
    step_end(leg->side);
  });
}

void ChannelWorld::on_attach(const LegPtr& leg, DialReason reason, int process) {
  leg->process = process;
  const int side = leg->side;
  pb::LinkMessage reply;
  if (newest_[side] && newest_[side]->generation >= leg->generation) {
    reply.mutable_refuse()->set_code("superseded");
    return to_end(leg, control(reply));
  }
  const LegPtr old = newest_[side];
  newest_[side] = leg;
  leg->attached = true;
  if (old && reason == DialReason::planned)
    old->draining = true;
  else if (old)
    cut(old, false);
  auto& attached = *reply.mutable_attached();
  attached.set_generation(leg->generation);
  attached.set_peer_attached(newest_[1 - side] != nullptr);
  attached.mutable_orders()->set_heartbeat_ms(500);
  attached.mutable_orders()->set_redial_spread_ms(20);
  for (std::uint32_t c = 0; c <= channels_ * 2; ++c) {
    const std::uint64_t offset = durable(side, c);
    if (!strict_ || offset == 0) continue;
    auto& recorded = *attached.add_recorded();
    recorded.set_channel(c);
    recorded.set_offset(offset);
  }
  to_end(leg, control(reply));
  pb::LinkMessage news;
  news.mutable_peer_attached()->set_generation(leg->generation);
  news.mutable_peer_attached()->set_lost(reason == DialReason::lost);
  tell_peer(1 - side, control(news));
}

void ChannelWorld::tell_peer(int side, const std::string& bytes) {
  if (newest_[side]) to_end(newest_[side], bytes);
}

void ChannelWorld::on_process_frames(const LegPtr& leg, const std::string& bytes) {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    std::size_t size = 0;
    const auto frame = wire::parse_frame(rest, size);
    const std::string raw(rest.substr(0, size));
    rest.remove_prefix(size);
    if (!leg->attached) continue;
    if (const auto* ping = std::get_if<wire::Ping>(&**frame)) {
      std::string pong;
      wire::append_frame(pong, wire::Pong{ping->token});
      to_end(leg, pong);
    } else if (std::holds_alternative<wire::Barrier>(**frame)) {
      to_end(leg, raw);
    } else if (const auto* message = std::get_if<wire::Control>(&**frame)) {
      pb::LinkMessage parsed;
      if (parsed.ParseFromArray(message->message.data(), int(message->message.size())) &&
          parsed.has_end_request()) {
        pb::Tombstone tombstone;
        tombstone.set_session_id(std::string(16, 's'));
        pb::LinkMessage ended;
        ended.mutable_ended()->set_tombstone(tombstone.SerializeAsString());
        for (int side = 0; side < 2; ++side) tell_peer(side, control(ended));
      }
    } else {
      if (const auto* data = std::get_if<wire::Data>(&**frame); data && leg->side == 1)
        record(leg->process, 1, *data);
      route(leg->process, 1 - leg->side, raw);
    }
  }
}

// Frames go to the process that has the side's newest leg; if that changed on the way, on again.
void ChannelWorld::route(int process, int to_side, const std::string& raw) {
  const LegPtr leg = newest_[to_side];
  if (!leg) return;  // Nobody there; the node keeps nothing.
  if (leg->process != process) {
    ++marks_.bridged;
    Process& from = *processes_[process];
    from.bridge_out = std::max(from.bridge_out, now_ + delay());
    at(from.bridge_out, [this, process, other = leg->process, to_side, raw, life = from.life,
                         other_life = processes_[leg->process]->life] {
      if (processes_[process]->life != life || processes_[other]->life != other_life) return;
      if (newest_[to_side] && newest_[to_side]->process != other) ++marks_.rerouted;
      route(other, to_side, raw);
    });
    return;
  }
  std::size_t size = 0;
  const auto frame = wire::parse_frame(raw, size);
  if (const auto* data = std::get_if<wire::Data>(&**frame); data && to_side == 1)
    record(process, 0, *data);
  to_end(leg, raw);
}

void ChannelWorld::record(int process, int from_side, const wire::Data& data) {
  Process& p = *processes_[process];
  if (data.offset + data.payload.size() <= durable(from_side, data.channel)) ++marks_.repeated;
  p.unsynced.push_back({from_side, data.channel, data.offset, data.offset + data.payload.size()});
  if (p.sync_planned) return;
  p.sync_planned = true;
  at(now_ + delay() * 4, [this, process, life = p.life] {
    if (processes_[process]->life == life) sync(process);
  });
  if (planted_ == "recorder_lies" && strict_) {
    std::string frame;
    wire::append_frame(frame, wire::Recorded{data.channel, data.offset + data.payload.size()});
    route(process, from_side, frame);
  }
}

void ChannelWorld::sync(int process) {
  Process& p = *processes_[process];
  p.sync_planned = false;
  std::set<std::pair<int, std::uint32_t>> touched;
  for (const auto& piece : p.unsynced) {
    auto& ranges = disk_[{piece.from, piece.channel}];
    std::uint64_t& end = ranges[piece.begin];
    end = std::max(end, piece.end);
    touched.insert({piece.from, piece.channel});
  }
  p.unsynced.clear();
  if (!strict_) return;
  for (const auto& [from, channel] : touched) {
    std::string frame;
    wire::append_frame(frame, wire::Recorded{channel, durable(from, channel)});
    route(process, from, frame);
  }
}

std::uint64_t ChannelWorld::durable(int from_side, std::uint32_t channel) const {
  const auto found = disk_.find({from_side, channel});
  std::uint64_t reach = 0;
  if (found == disk_.end()) return 0;
  for (const auto& [begin, end] : found->second) {
    if (begin > reach) break;
    reach = std::max(reach, end);
  }
  return reach;
}

// ---- Faults ----

void ChannelWorld::forget_leg(const LegPtr& leg) {
  if (newest_[leg->side] != leg) return;
  newest_[leg->side].reset();
  pb::LinkMessage news;
  news.mutable_peer_gone();
  tell_peer(1 - leg->side, control(news));
}

void ChannelWorld::cut(const LegPtr& leg, bool silent) {
  if (leg->draining && leg->alive && !leg->dropped) ++marks_.drains_lost;
  leg->alive = false;
  if (!silent)
    at(now_ + delay(), [this, leg] {
      if (leg->dropped) return;
      leg->dropped = true;
      ends_[leg->side]->legs.erase(leg->generation);
      ends_[leg->side]->session->leg_failed(leg->generation, now_);
      step_end(leg->side);
    });
  at(now_ + (silent ? 1500ms : delay()), [this, leg] { forget_leg(leg); });
}

void ChannelWorld::crash(int process) {
  ++marks_.crashes;
  Process& p = *processes_[process];
  if (!p.unsynced.empty()) ++marks_.unsynced_lost;
  ++p.life;
  p.unsynced.clear();
  p.sync_planned = false;
  p.bridge_out = now_;
  for (auto& end : ends_) {
    const auto legs = end->legs;
    for (const auto& [generation, leg] : legs)
      if (leg->attached && leg->process == process) {
        cut(leg, false);
        forget_leg(leg);
      }
  }
  if (random_.one_in(2)) {
    accepting_ = 1 - process;
  } else if (accepting_ == process) {
    p.up = false;
    at(now_ + Duration(random_.below(1'500'000)), [&p] { p.up = true; });
  }
}

void ChannelWorld::move() {
  ++marks_.moves;
  accepting_ = 1 - accepting_;
  processes_[accepting_]->up = true;
  for (int side = 0; side < 2; ++side) {
    at(now_ + delay() * 10, [this, side] {
      const LegPtr leg = newest_[side];
      if (!leg || leg->process == accepting_) return;
      pb::LinkMessage message;
      auto& candidate = *message.mutable_migrate()->add_candidates();
      candidate.set_host("site");
      candidate.set_port(1);
      message.mutable_migrate()->set_delay_ms(random_.below(20));
      to_end(leg, control(message));
    });
  }
}

void ChannelWorld::fault() {
  const int side = static_cast<int>(random_.below(2));
  switch (random_.below(6)) {
    case 0:
    case 1:
      if (const LegPtr leg = newest_[side]) {
        const bool silent = random_.one_in(3);
        ++(silent ? marks_.silent_cuts : marks_.cuts);
        cut(leg, silent);
      }
      break;
    case 2:
      crash(static_cast<int>(random_.below(2)));
      break;
    default:
      move();
      if (random_.one_in(3))
        at(now_ + Duration(random_.below(30'000)), [this] { crash(1 - accepting_); });
  }
}

}  // namespace everspan::sim
