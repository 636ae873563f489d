// RoleCore: how the turn passes. The side that lets go, the side that takes, and taking it again.
#include <algorithm>
#include <utility>

#include "failover/core/detail/role_relation.h"
#include "failover/core/role_core.h"

namespace everspan::failover {
namespace {

using detail::has;
using detail::sorted;

}  // namespace

// ---- turns ----

// By the register first, then by the write path (R1).
void RoleCore::take(Epoch epoch, bool tail_counts, Revision needed, const std::string& why) {
  record_.reg.epoch = epoch;
  record_.reg.holder = self_;
  record_.reg.rests = false;
  record_.prepared.reset();
  record_.yields = false;
  serves_ = false;
  quiet_ = false;
  raise_failed_ = false;
  recent_.clear();
  save(Then::taken).grant = {.epoch = epoch, .head_needed = needed, .tail_counts = tail_counts};
  settle(why);
  watch(false);
}

// R2: the one between may be prepared at the other node.
void RoleCore::take_again(const std::string& why) {
  take(Epoch{record_.reg.epoch.value + 2}, false, {}, why);
}

void RoleCore::on(const PeerLog& event) {
  peer_log_ = event.epoch;
  consider_later_turn();
}

// A loser that a person picked may have been forced before, and count on from there.
void RoleCore::consider_later_turn() {
  if (!paired() || !holds() || release_ || diverged() || peer_log_ <= record_.reg.epoch) return;
  if (!record_.reg.rests)
    return take(peer_log_.next(), false, {}, "the other node's log knows a later turn");
  record_.reg.epoch = peer_log_.next();
  save(Then::nothing);
}

// The write path lets go of what it has; who waits for this node to serve is told.
void RoleCore::stop_serving() {
  if (holds() && !record_.reg.rests) act(AskRelease{record_.reg.epoch});
  serves_ = false;
  stop_growing();
  if (forcing_ != 0) act(Answer{std::exchange(forcing_, 0), detail::roles_change()});
}

void RoleCore::on(const Raised& event) {
  const bool wanted = holds() && !record_.reg.rests && event.epoch == record_.reg.epoch &&
                      durable_.reg.holder == self_ && durable_.reg.epoch == event.epoch;  // R1
  if (!wanted) return act(AskRelease{event.epoch});
  if (release_) return;  // Said again, before it heard that it lets go.
  serves_ = true;
  quiet_ = false;
  raise_failed_ = false;
  settle("serves epoch " + std::to_string(event.epoch.value));
  if (linked_ && paired() && !diverged()) act(SendRegister{Word::serving, durable_.reg});
  answer_askers(std::nullopt);
  watch(false);
  consider_growing();
}

void RoleCore::on(const RaiseFailed& event) {
  if (event.epoch != record_.reg.epoch || !holds()) return;
  raise_failed_ = true;
  serves_ = false;
  quiet_ = true;
  settle("its log does not take the turn: " + event.why);
  answer_askers(Error{"not_raised", "This node's log does not take the turn: " + event.why,
                      "The register names this node, and nobody else serves",
                      "Look at its log, then say become-primary again"});
}

void RoleCore::answer_askers(const std::optional<Error>& refused) {
  if (forcing_ != 0) act(Answer{std::exchange(forcing_, 0), refused});
  if (asked_peer_ != 0) act(Answer{std::exchange(asked_peer_, 0), refused});
}

// ---- planned hand-over: the side that lets go ----

void RoleCore::on(const PeerAsks& event) {
  now_ = event.now;
  if (!holds() || !paired())
    return act(SendAskReply{event.token, Error{"not_primary", "That node is not the primary",
                                               "Nothing was changed", "See `failover status`"}});
  if (diverged()) return act(SendAskReply{event.token, detail::histories_differ()});
  begin_release(event.token, true);
}

void RoleCore::begin_release(std::uint64_t token, bool by_peer) {
  const auto refuse = [&](Error why) {
    if (by_peer)
      act(SendAskReply{token, std::move(why)});
    else
      act(Answer{token, std::move(why)});
  };
  const bool rests = record_.reg.rests;
  if (release_ || (rests ? !quiet_ : !serves_)) return refuse(detail::roles_change());
  if (!peer_in_sync() || !has(durable_.reg.in_sync, record_.peer))
    return refuse(detail::not_in_sync());
  release_ = Release{.token = token, .by_peer = by_peer, .link = link_, .head = {}};
  give_up_at_ = now_ + timing_.hand_over_within;
  settle("hands over to the other node");
  if (!rests) return act(AskRelease{record_.reg.epoch});
  release_->phase = Phase::catching_up;  // Nothing runs.
  release_->head = head_;
  consider_prepare();
}

void RoleCore::on(const Quiet& event) {
  if (event.epoch != record_.reg.epoch || !holds()) return;
  quiet_ = true;
  const bool served = std::exchange(serves_, false);
  head_ = event.head;
  if (release_ && release_->phase == Phase::quieting) {
    release_->phase = Phase::catching_up;
    release_->head = event.head;
    return consider_prepare();
  }
  // Given up when the write path had let go already.
  if (served && !record_.reg.rests) take_again("the hand-over was given up");
}

void RoleCore::consider_prepare() {
  if (!release_ || release_->phase != Phase::catching_up) return;
  if (!linked_ || link_ != release_->link || peer_has_ < release_->head.revision) return;
  release_->phase = Phase::preparing;
  act(SendPrepare{{record_.reg.epoch.next(), release_->head}});
}

void RoleCore::on(const PeerPrepared& event) {
  if (!release_ || release_->phase != Phase::preparing) return;
  if (event.epoch != record_.reg.epoch.next()) return;
  release_->phase = Phase::committing;
  give_up_at_ = Instant::max();
  record_.reg.epoch = event.epoch;
  record_.reg.holder = record_.peer;
  record_.reg.in_sync = sorted({self_, record_.peer});
  record_.reg.rests = false;
  save(Then::released);
  watch(false);
}

void RoleCore::on(const PeerRefused& event) {
  if (!release_ || release_->phase != Phase::preparing) return;
  if (event.epoch != record_.reg.epoch.next()) return;
  abort({event.code, "The other node does not take over: " + event.message, "This node goes on",
         "See `failover status` there"});
}

// Before the commit point: this node goes on (R5).
void RoleCore::abort(const Error& why) {
  if (!release_ || release_->phase == Phase::committing) return;
  const Phase phase = release_->phase;
  give_up_at_ = Instant::max();
  if (phase == Phase::preparing && linked_) act(SendAbort{record_.reg.epoch.next()});
  answer_release(why);
  release_.reset();
  if (record_.reg.rests) {
    if (phase == Phase::preparing) {
      record_.reg.epoch = Epoch{record_.reg.epoch.value + 2};  // R2
      save(Then::nothing);
    }
    return settle(why.message);
  }
  // Quiet already: the write path has let go of the turn and needs a new one.
  if (phase != Phase::quieting) return take_again(why.message);
  act(AbortRelease{record_.reg.epoch});
  settle(why.message);
}

void RoleCore::answer_release(std::optional<Error> refused) {
  if (release_->by_peer) {
    if (linked_ && link_ == release_->link) act(SendAskReply{release_->token, std::move(refused)});
  } else if (release_->token != 0) {
    act(Answer{release_->token, std::move(refused)});
  }
  release_->token = 0;
}

// ---- planned hand-over: the side that takes ----

void RoleCore::on(const PeerAsksAnswered& event) {
  if (event.token == 0 || event.token != asked_peer_) return;
  // It released: Raised answers. So it does when the refusal is older than that.
  if (!event.refused || holds()) return;
  act(Answer{std::exchange(asked_peer_, 0), event.refused});
}

void RoleCore::on(const PeerPrepare& event) {
  const auto refuse = [&](const char* code, std::string message) {
    act(SendRefused{event.what.epoch, code, std::move(message)});
  };
  if (holds() || release_ || !paired() || !linked_ || diverged())
    return refuse("not_backup", "it is not the backup");
  if (event.what.epoch <= record_.reg.epoch) return refuse("old_epoch", "the turn is over");  // R2
  if (head_ != event.what.head) return refuse("not_in_sync", "its log ends elsewhere");
  record_.prepared = event.what;
  save(Then::prepared);
}

void RoleCore::on(const PeerAbort& event) {
  if (!record_.prepared || record_.prepared->epoch != event.epoch || holds()) return;
  record_.prepared.reset();
  save(Then::nothing);
}

}  // namespace everspan::failover
