// ShipLeader: where two logs are the same. Equal hashes at one revision mean equal histories up to
// it, so a binary search over the revisions that both logs still have finds the last common one.
#include <algorithm>
#include <utility>

#include "sync/core/ship_core.h"

namespace everspan::sync {

void ShipLeader::start_over(const store::LogHead& follower_head) {
  state_ = State::comparing;
  drop_in_flight();
  peer_head_ = follower_head;
  if (own_head_.revision < peer_base_.revision)
    return differs("the other node's log begins after revision " +
                       std::to_string(peer_base_.revision.value) + ", where this one ends before",
                   {});
  if (follower_head.revision < own_base_.revision) {
    why_ = "this node's log does not reach back to what the other has";
    // Of one lineage, what is committed there is in this history, though it cannot be shown.
    if (one_lineage_ || peer_committed_.value == 0 || peer_yields_)
      return send_snapshot(peer_yields_);
    return no_common_point();
  }
  first_ = std::max(own_base_.revision.value, peer_base_.revision.value);
  high_ = std::min(own_head_.revision.value, follower_head.revision.value);
  low_.reset();
  if (first_ == 0) low_ = store::LogHead{};  // An empty log is an ancestor of all.
  asked_ = high_;                            // Most often the follower is simply behind.
  if (high_ == 0) return common_is({});
  compare();
}

void ShipLeader::compare() {
  own_answered_ = peer_answered_ = false;
  const auto known = [this](const store::LogHead& point) {
    return point.revision.value == asked_ ? std::optional<Sha256>(point.hash) : std::nullopt;
  };
  peer_answer_ = known(peer_head_);
  if (!peer_answer_) peer_answer_ = known(peer_base_);
  own_answer_ = known(own_head_);
  if (!own_answer_) own_answer_ = known(own_base_);
  peer_answered_ = peer_answer_.has_value();
  own_answered_ = own_answer_.has_value();
  if (!peer_answered_) act(AskPeerHash{Revision{asked_}});
  if (!own_answered_) act(AskOwnHash{Revision{asked_}});
  if (own_answered_ && peer_answered_) compared();
}

void ShipLeader::on(const OwnHash& event) {
  if (state_ != State::comparing || event.revision.value != asked_ || own_answered_) return;
  own_answer_ = event.hash;
  own_answered_ = true;
  if (peer_answered_) compared();
}

void ShipLeader::on(const PeerHash& event) {
  if (!current(event.link) || state_ != State::comparing) return;
  if (event.revision.value != asked_ || peer_answered_) return;
  peer_answer_ = event.hash;
  peer_answered_ = true;
  if (own_answered_) compared();
}

void ShipLeader::compared() {
  if (own_answer_ && peer_answer_ && *own_answer_ == *peer_answer_) {
    low_ = store::LogHead{Revision{asked_}, *own_answer_};
  } else if (asked_ == first_) {
    return no_common_point();
  } else {
    high_ = asked_ - 1;
  }
  if (low_ && low_->revision.value >= high_) return common_is(*low_);
  const std::uint64_t from = low_ ? low_->revision.value + 1 : first_;
  asked_ = from + (high_ - from + (low_ ? 1 : 0)) / 2;
  compare();
}

void ShipLeader::no_common_point() {
  if (peer_committed_.value == 0) return send_snapshot(false);
  differs("the two logs have no entry in common that both still hold", {});
}

void ShipLeader::common_is(const store::LogHead& common) {
  if (peer_head_ == common) return agreed(common);
  if (peer_committed_ <= common.revision) return cut(common);
  differs("the other node has committed entries after revision " +
              std::to_string(common.revision.value) + " that this one lacks",
          common);
}

void ShipLeader::cut(const store::LogHead& common) {
  drop_in_flight();
  state_ = State::cutting;
  cut_to_ = common;
  act(SendCut{common});
}

// S2
void ShipLeader::differs(std::string why, const store::LogHead& common) {
  drop_in_flight();
  why_ = std::move(why);
  if (peer_yields_) return send_snapshot(true);
  state_ = State::diverged;
  act(Diverged{why_, common});
}

}  // namespace everspan::sync
