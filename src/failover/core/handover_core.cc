#include "failover/core/handover_core.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/check.h"

namespace everspan::failover {
namespace {

template <class Queue>
auto take(Queue& queue, const WriteId& id) -> std::optional<typename Queue::value_type> {
  const auto at = std::ranges::find_if(queue, [&](const auto& w) { return w.id == id; });
  if (at == queue.end()) return std::nullopt;
  auto found = std::move(*at);
  queue.erase(at);
  return found;
}

}  // namespace

std::vector<HandoverCore::Action> HandoverCore::handle(const Event& event) {
  std::visit([this](const auto& e) { on(e); }, event);
  return std::exchange(actions_, {});
}

void HandoverCore::on(const Granted& event) {
  if (event.turn <= turn_) return;  // H3
  turn_ = event.turn;
  head_needed_ = event.head_needed;
  // While serving, writes under way stay right: the log holds them under the turn they began with,
  // and the raise is ordered among them by the log itself. New ones wait for Raised (H1).
  state_ = State::taking;
  raising_ = false;
  raise_if_ready();
}

void HandoverCore::on(const HaveHead& event) {
  head_ = std::max(head_, event.head);
  raise_if_ready();
}

void HandoverCore::raise_if_ready() {
  if (state_ != State::taking || raising_ || head_ < head_needed_) return;
  // Not while a commit of a lower turn is under way here: it would be fenced by our own raise.
  if (!running_.empty()) return;
  raising_ = true;
  act(RaiseLog{.turn = turn_});
}

void HandoverCore::on(const Raised& event) {
  if (state_ != State::taking || event.turn != turn_) return;
  raising_ = false;
  state_ = State::serving;
  act(StartAccepting{});
  act(TellServing{.turn = turn_});
  flush();
}

void HandoverCore::on(const RaiseFailed& event) {
  if (state_ != State::taking || event.turn != turn_) return;
  raising_ = false;
  state_ = State::learner;
  act(TellNotServing{.turn = turn_, .why = event.why});
  flush();
}

void HandoverCore::on(const AskRelease& event) {
  if (state_ != State::serving || event.turn != turn_) return;
  state_ = State::releasing;
  act(StopAccepting{});
  release_if_quiet();
}

void HandoverCore::release_if_quiet() {
  if (state_ != State::releasing || !running_.empty()) return;
  state_ = State::released;
  act(TellReleased{.turn = turn_});
}

void HandoverCore::on(const AbortRelease&) {
  if (state_ != State::releasing) return;  // Released already: only the register can say (H2).
  state_ = State::serving;
  act(StartAccepting{});
  flush();
}

void HandoverCore::on(const PeerConnected&) {
  peer_here_ = true;
  peer_turn_ = 0;  // A new process, or a new link: it says again whether it serves.
  if (state_ == State::serving) act(TellServing{.turn = turn_});
  flush();
}

// What is at the peer may have been committed or not. With the same id it may be sent or run again.
void HandoverCore::on(const PeerLost&) {
  peer_here_ = false;
  peer_turn_ = 0;
  while (!forwarded_.empty()) {
    forwarded_.back().may_have_run = true;
    waiting_.push_front(std::move(forwarded_.back()));
    forwarded_.pop_back();
  }
  for (auto* queue : {&waiting_, &running_})
    for (auto& w : *queue) w.for_peer = false;
  std::erase_if(waiting_,
                [](const Waiting& w) { return !w.for_client; });  // It will be asked again.
  flush();  // Granted meanwhile: they run here.
}

void HandoverCore::on(const PeerServes& event) {
  if (event.turn <= turn_) return;  // H3: an earlier turn of the peer.
  peer_turn_ = event.turn;
  if (state_ == State::serving || state_ == State::releasing) act(StopAccepting{});
  state_ = State::learner;
  flush();
}

void HandoverCore::on(const Fenced&) {
  if (state_ != State::serving && state_ != State::releasing && state_ != State::taking) return;
  if (state_ != State::taking) act(StopAccepting{});
  const bool was_taking = state_ == State::taking;
  state_ = State::learner;
  raising_ = false;
  if (was_taking) act(TellNotServing{.turn = turn_, .why = "fenced by a higher turn"});
  flush();
}

void HandoverCore::on(const BeginsAnew&) {
  if (state_ == State::serving || state_ == State::releasing) act(StopAccepting{});
  state_ = State::learner;
  turn_ = peer_turn_ = 0;
  raising_ = false;
}

void HandoverCore::on(const Write& event) {
  if (auto* known = find(event.id)) {  // On its way: its answer serves both.
    (event.from_peer ? known->for_peer : known->for_client) = true;
    return;
  }
  Waiting write{.id = event.id, .for_client = !event.from_peer, .for_peer = event.from_peer};
  if (waiting() >= kWaitingMax) return answer(write, WriteOutcome::unavailable);  // H5
  waiting_.push_back(std::move(write));
  flush();
}

void HandoverCore::flush() {
  if (state_ == State::serving) {
    while (!waiting_.empty()) {
      act(RunWrite{.id = waiting_.front().id});
      running_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    return;
  }
  if (!peer_here_ || peer_turn_ <= turn_ || state_ == State::taking) return;
  for (auto& w : waiting_) {
    if (w.for_peer) {
      // It says that it serves: what it sent us before, it runs itself.
      act(Answer{.id = w.id, .to_peer = true, .outcome = WriteOutcome::not_run});
      w.for_peer = false;
    }
    if (!w.for_client) continue;
    act(ForwardWrite{.id = w.id});
    forwarded_.push_back(std::move(w));
  }
  waiting_.clear();
}

void HandoverCore::on(const WriteDone& event) {
  auto write = take(running_, event.id);
  if (!write) return;
  if (event.outcome == WriteOutcome::not_run) {
    waiting_.push_front(*write);  // Fenced: the next holder runs it, under the same id.
    flush();
  } else {
    answer(*write, event.outcome);
  }
  release_if_quiet();
  raise_if_ready();
}

void HandoverCore::on(const PeerAnswered& event) {
  auto write = take(forwarded_, event.id);
  if (!write) return;
  if (event.outcome != WriteOutcome::not_run) return answer(*write, event.outcome);
  waiting_.push_back(std::move(*write));  // The turn moved on meanwhile: wait for the next word.
  if (state_ == State::serving) return flush();
  peer_turn_ = 0;
}

void HandoverCore::on(const AskerGone& event) {
  if (auto* write = find(event.id)) write->for_client = false;
}

void HandoverCore::on(const GiveUp& event) {
  auto* write = find(event.id);
  if (write == nullptr || !write->for_client) return;
  const bool is_waiting = std::ranges::find(waiting_, event.id, &Waiting::id) != waiting_.end();
  const bool untouched = is_waiting && !write->may_have_run && !write->for_peer;
  act(Answer{.id = event.id,
             .to_peer = false,
             .outcome = untouched ? WriteOutcome::unavailable : WriteOutcome::unknown});
  write->for_client = false;
  if (untouched) take(waiting_, event.id);
}

void HandoverCore::answer(const Waiting& write, WriteOutcome outcome) {
  if (write.for_client) act(Answer{.id = write.id, .to_peer = false, .outcome = outcome});
  if (write.for_peer && peer_here_)
    act(Answer{.id = write.id, .to_peer = true, .outcome = outcome});
}

HandoverCore::Waiting* HandoverCore::find(const WriteId& id) {
  for (auto* queue : {&waiting_, &forwarded_, &running_})
    if (const auto at = std::ranges::find(*queue, id, &Waiting::id); at != queue->end())
      return &*at;
  return nullptr;
}

}  // namespace everspan::failover
