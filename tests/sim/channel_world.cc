#include "channel_world.h"

#include <algorithm>

#include "channel_parts.h"

namespace everspan::sim {
namespace {

char pattern(int from, std::uint32_t channel, std::uint64_t offset) {
  const std::uint64_t x = (offset + 1) * 0x9e3779b97f4a7c15ULL + channel * 77 + from * 31;
  return static_cast<char>(x >> 56);
}

struct NoDedupe : ChannelEnd {
  using ChannelEnd::ChannelEnd;
  std::size_t already_here(std::uint64_t) const override { return 0; }
};
struct ForgetAtAck : ChannelEnd {
  using ChannelEnd::ChannelEnd;
  std::uint64_t forget_below() const override { return acked(); }
};
struct ResumeOneLate : ChannelEnd {
  using ChannelEnd::ChannelEnd;
  std::uint64_t send_again_from(std::uint64_t received) const override { return received + 1; }
};
template <class T>
ChannelFactory factory() {
  return [](const ChannelLimits& limits) { return std::make_unique<T>(limits); };
}

}  // namespace

void Marks::add(const Marks& o) {
  moves += o.moves, cuts += o.cuts, silent_cuts += o.silent_cuts, crashes += o.crashes;
  drains_lost += o.drains_lost, bridged += o.bridged, early += o.early, rerouted += o.rerouted;
  repeated += o.repeated, unsynced_lost += o.unsynced_lost, ended += o.ended;
}

std::vector<std::string> ChannelWorld::planted_names() {
  return {"no_dedupe", "forget_at_ack", "resume_one_late", "recorder_lies"};
}

ChannelWorld::ChannelWorld(std::uint64_t seed, std::string planted)
    : random_(seed), planted_(std::move(planted)), now_(1s) {
  strict_ = !random_.one_in(4);
  slow_ = random_.one_in(5) ? 50ms : 2ms;
  channels_ = 1 + random_.below(3);
  for (auto& process : processes_) process = std::make_unique<Process>();
  ChannelLimits limits{.ring_bytes = 512 + random_.below(4096),
                       .window_bytes = kInitialWindowBytes,
                       .strict = strict_};
  for (int side = 0; side < 2; ++side) {
    SessionOptions options{.side = side == 0 ? Side::console : Side::agent,
                           .session_id = std::string(16, 's'),
                           .limits = limits,
                           .seed = random_.next()};
    options.orders.candidates = {{"site", 1, ""}};
    options.orders.heartbeat = 500ms;
    if (planted_ == "no_dedupe") options.make_channel = factory<NoDedupe>();
    if (planted_ == "forget_at_ack") options.make_channel = factory<ForgetAtAck>();
    if (planted_ == "resume_one_late") options.make_channel = factory<ResumeOneLate>();
    ends_[side] = std::make_unique<End>();
    ends_[side]->session = std::make_unique<SessionEnd>(std::move(options), now_);
    for (std::uint32_t c = 1; c <= channels_; ++c)
      ends_[side]->flows[c * 2 - 1].total = random_.below(random_.one_in(3) ? 12'000 : 1'500);
  }
}

ChannelWorld::~ChannelWorld() = default;

void ChannelWorld::at(Instant when, std::function<void()> what) {
  events_.push({when, sequence_++, std::move(what)});
}

Duration ChannelWorld::delay() {  // Mostly short, sometimes long.
  if (random_.one_in(40)) return Duration(random_.below(20 * slow_.count()));
  return Duration(100 + random_.below(slow_.count()));
}

// ---- Ends ----

void ChannelWorld::step_end(int side) {
  End& end = *ends_[side];
  auto actions = end.session->take_actions();
  for (auto& action : actions) apply(side, action);
  const Instant wake = end.session->wake_at();
  if (wake != Instant::max() && wake < end.wake) {
    end.wake = std::max(wake, now_ + 1us);
    at(end.wake, [this, side, when = end.wake] {
      End& e = *ends_[side];
      if (e.wake != when) return;
      e.wake = Instant::max();
      e.session->tick(now_);
      step_end(side);
    });
  }
}

void ChannelWorld::apply(int side, Action& action) {
  End& end = *ends_[side];
  if (auto* d = std::get_if<Dial>(&action)) {
    dial(side, *d);
  } else if (auto* frames = std::get_if<SendFrames>(&action)) {
    const auto found = end.legs.find(frames->leg);
    if (found == end.legs.end()) return;
    const LegPtr leg = found->second;
    leg->to_process = std::max(leg->to_process, now_ + delay());
    at(leg->to_process, [this, leg, bytes = std::move(frames->bytes)] {
      if (leg->alive) on_process_frames(leg, bytes);
    });
  } else if (auto* close = std::get_if<CloseLeg>(&action)) {
    const auto found = end.legs.find(close->leg);
    if (found == end.legs.end()) return;
    const LegPtr leg = found->second;
    leg->dropped = true;
    end.legs.erase(found);
    leg->to_process = std::max(leg->to_process, now_ + delay());
    at(leg->to_process, [this, leg] {
      leg->alive = false;
      forget_leg(leg);
    });
  } else if (auto* message = std::get_if<ControlMessage>(&action)) {
    pb::SessionControl parsed;
    if (!parsed.ParseFromString(message->bytes)) failure_ = "a control message is malformed";
    if (parsed.has_open() && side == 1) {
      if (!end.session->add_channel(parsed.open().channel(), now_))
        failure_ = "a channel was opened twice";
      end.flows[parsed.open().channel()].open = true;
    }
    plan_app(side, Duration{0});
  } else if (auto* ended = std::get_if<Ended>(&action)) {
    end.ended = true;
    if (ended->code != "ended")
      failure_ = "the session ended: " + ended->code + " " + ended->message;
    if (!asked_to_end_) failure_ = "the session ended unasked";
  } else if (auto* gone = std::get_if<ChannelGone>(&action)) {
    if (!gone->code.empty()) failure_ = "a channel broke: " + gone->code;
    end.flows[gone->channel].saw_end = true;  // Everything was consumed (S5).
  } else if (std::holds_alternative<Readable>(action) || std::holds_alternative<Writable>(action)) {
    plan_app(side, random_.one_in(3) ? delay() * 5 : Duration{0});
  }
}

void ChannelWorld::plan_app(int side, Duration wait) {
  if (ends_[side]->app_planned) return;
  ends_[side]->app_planned = true;
  at(now_ + wait, [this, side] { app(side); });
}

void ChannelWorld::app(int side) {
  ends_[side]->app_planned = false;
  End& end = *ends_[side];
  for (auto& [channel, flow] : end.flows) {
    if (!flow.open || !end.session->has_channel(channel)) continue;
    const std::string_view bytes = end.session->readable(channel);
    const std::size_t size = bytes.empty() ? 0 : 1 + random_.below(bytes.size());
    for (std::size_t i = 0; i < size; ++i)
      if (bytes[i] != pattern(1 - side, channel, flow.read + i))
        failure_ = "channel " + std::to_string(channel) + ": a wrong byte at " +
                   std::to_string(flow.read + i);
    flow.read += size;
    if (size > 0) end.session->consume(channel, size, now_);
    if (end.session->at_end(channel)) flow.saw_end = true;
    if (flow.read > ends_[1 - side]->flows[channel].total) failure_ = "more bytes than were sent";
    std::string more;
    const std::uint64_t want =
        std::min<std::uint64_t>(flow.total - flow.written, random_.below(900));
    for (std::uint64_t i = 0; i < want; ++i) more += pattern(side, channel, flow.written + i);
    flow.written += end.session->write(channel, more, now_);
    if (flow.written == flow.total && !flow.finished) {
      flow.finished = true;
      end.session->finish(channel, now_);
    }
    if (flow.written < flow.total || !end.session->readable(channel).empty())
      plan_app(side, delay() * 3);
  }
  step_end(side);
}

void ChannelWorld::dial(int side, const Dial& d) {
  auto leg = std::make_shared<Leg>();
  leg->side = side;
  leg->generation = d.generation;
  ends_[side]->legs[d.generation] = leg;
  at(now_ + delay(), [this, leg, reason = d.reason] {
    if (leg->dropped) return;
    if (!processes_[accepting_]->up) return cut(leg, false);
    on_attach(leg, reason, accepting_);
  });
}

// ---- The run ----

void ChannelWorld::open_channels() {
  SessionEnd& console = *ends_[0]->session;
  for (auto& [channel, flow] : ends_[0]->flows) {
    if (!console.add_channel(channel, now_)) failure_ = "a channel cannot be opened";
    pb::SessionControl open;
    open.mutable_open()->set_channel(channel);
    console.send_control(open, now_);
    flow.open = true;
  }
  app(0);
}

void ChannelWorld::check_safety() {
  if (!strict_) return;
  for (int side = 0; side < 2; ++side)
    for (const auto& [channel, flow] : ends_[side]->flows)
      if (const auto* end = ends_[side]->session->channel(channel);
          end && end->base() > durable(side, channel))
        failure_ = "channel " + std::to_string(channel) + " forgot bytes that are not recorded";
}

bool ChannelWorld::complete() const {
  for (int side = 0; side < 2; ++side) {
    if (ends_[side]->session->channels() > 0) return false;
    for (const auto& [channel, flow] : ends_[side]->flows)
      if (!flow.saw_end || flow.read != ends_[1 - side]->flows.at(channel).total) return false;
  }
  return true;
}

std::string ChannelWorld::state() const {
  std::string out = asked_to_end_ ? " (asked to end)" : "";
  for (int side = 0; side < 2; ++side) {
    const auto& end = *ends_[side];
    out += side == 0 ? "\n console:" : "\n agent:";
    out += end.session->connected() ? " connected" : " not connected";
    for (std::uint32_t c = 0; c <= channels_ * 2; ++c)
      if (const auto* channel = end.session->channel(c))
        out += "\n  " + std::to_string(c) + ": base " + std::to_string(channel->base()) +
               " acked " + std::to_string(channel->acked()) + " recorded " +
               std::to_string(channel->recorded()) + " durable " +
               std::to_string(durable(side, c)) + " sent " + std::to_string(channel->sent_max()) +
               " written " + std::to_string(channel->written()) + " consumed " +
               std::to_string(channel->consumed());
  }
  return out;
}

std::string ChannelWorld::run() {
  for (auto& end : ends_) end->session->start(now_);
  open_channels();
  step_end(1);
  const int faults = static_cast<int>(random_.below(9));
  Instant when = now_;
  for (int i = 0; i < faults; ++i) {
    when += Duration(random_.below(random_.one_in(3) ? 800'000 : 40'000));
    at(when, [this] { fault(); });
  }
  at(when, [this] {
    for (auto& p : processes_) p->up = true;
  });
  const Instant limit = when + 180s;  // Progress is demanded only after the faults.
  long steps = 0;
  while (failure_.empty() && !(ends_[0]->ended && ends_[1]->ended)) {
    if (events_.empty()) return "nothing more would happen, and the bytes are not there";
    Event event = events_.top();
    events_.pop();
    now_ = event.when;
    if (now_ > limit || ++steps > 2'000'000)
      return "no end in sight after the last fault" + state();
    event.what();
    check_safety();
    if (!asked_to_end_ && complete()) {
      asked_to_end_ = true;
      ends_[1]->session->request_end("done", now_);
      step_end(1);
    }
    if (asked_to_end_ && ends_[1]->ended && !ends_[0]->ended) break;  // Its node may be away.
  }
  ++marks_.ended;
  return failure_;
}

}  // namespace everspan::sim
