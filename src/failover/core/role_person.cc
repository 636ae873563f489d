// RoleCore: what a person, or a plan in his name, decides.
#include <algorithm>
#include <utility>

#include "failover/core/detail/role_relation.h"
#include "failover/core/role_core.h"

namespace everspan::failover {
namespace {

// What a forced history counts on from: later than any turn that the other node may have taken
// meanwhile, each of which is a person's act, so that whoever compares epochs only is right too.
constexpr std::uint64_t kForceSkips = 1000;

}  // namespace

// ---- the relationship ----

void RoleCore::on(const Established& event) {
  now_ = event.now;
  if (release_ || forcing_ != 0) {
    if (event.token != 0) act(Answer{event.token, detail::roles_change()});
    return;
  }
  const bool held = holds();
  const bool holds_now = event.reg.holder == self_;
  if (held && !holds_now) stop_serving();
  if (asked_peer_ != 0) act(Answer{std::exchange(asked_peer_, 0), detail::roles_change()});
  head_ = event.head;
  record_.peer = event.peer;
  record_.reg = event.reg;
  record_.prepared.reset();
  record_.yields = event.yields && !holds_now;
  registers_differ_ = histories_differ_ = false;
  const std::string why = "a failover relationship was established";
  if (holds_now && !held) {
    take(event.reg.epoch, false, {}, why);
    pending_.back().token = event.token;
    return;
  }
  save(holds_now ? Then::nothing : Then::adopted).token = event.token;
  settle(why);
  watch(false);
}

void RoleCore::on(const Broken& event) {
  now_ = event.now;
  const bool by_peer = event.token == 0;
  if (!paired()) {
    if (!by_peer) act(Answer{event.token, detail::no_peer()});
    return;
  }
  const bool handing_over = release_ || (linked_ && record_.prepared && !holds());
  if (handing_over && !by_peer) return act(Answer{event.token, detail::roles_change()});
  abort({"broken", "The failover relationship ended", "This node goes on", ""});
  if (asked_peer_ != 0 && !holds()) act(Answer{std::exchange(asked_peer_, 0), detail::no_peer()});
  const bool tell = linked_ && !by_peer;
  const std::string why = "the failover relationship was broken";
  linked_ = false;
  growing_ = Growing::no;
  registers_differ_ = histories_differ_ = false;
  record_.peer = {};
  record_.prepared.reset();
  record_.yields = false;
  if (holds()) {
    record_.reg.in_sync = {self_};
    record_.reg.lineage = event.lineage;
    take_again(why);
  } else {
    save(Then::nothing);
    settle(why + ": this node serves nothing");
  }
  pending_.back().token = event.token;
  pending_.back().tell_broken = tell;
}

// ---- who is to be primary, with the other's consent ----

void RoleCore::on(const Ask& event) {
  now_ = event.now;
  const auto answer = [&](std::optional<Error> refused) {
    act(Answer{event.token, std::move(refused)});
  };
  if (!paired()) return answer(detail::no_peer());
  if (diverged()) return answer(detail::histories_differ());
  if (release_) return answer(detail::roles_change());
  if (event.become_primary && holds()) {
    if (serves_) return answer(std::nullopt);
    return serve_again(event.token);
  }
  if (!event.become_primary && !holds()) {
    if (role_ == Role::in_doubt) return answer(detail::in_doubt());
    return answer(std::nullopt);
  }
  if (!linked_) return answer(role_ == Role::in_doubt ? detail::in_doubt() : detail::unreachable());
  if (!event.become_primary) return begin_release(event.token, false);
  if (asked_peer_ != 0) return answer(detail::roles_change());
  asked_peer_ = event.token;
  act(SendAsk{event.token});
}

// The holder: it rests (R9), or its log did not take the turn.
void RoleCore::serve_again(std::uint64_t token) {
  const bool stopped = record_.reg.rests ? quiet_ : raise_failed_;
  if (!stopped || forcing_ != 0) return act(Answer{token, detail::roles_change()});
  forcing_ = token;
  take_again("a person made it serve again");
}

// ---- without the other node ----

void RoleCore::on(const AskForce& event) {
  now_ = event.now;
  if (event.become_primary) return force_primary(event);
  force_backup(event);
}

void RoleCore::force_primary(const AskForce& event) {
  const auto answer = [&](std::optional<Error> refused) {
    act(Answer{event.token, std::move(refused)});
  };
  if (record_.reg.lineage.is_zero())
    return answer(Error{"no_site", "This node has no site to serve", "Nothing was changed",
                        "Establish it from the node that has the site"});
  if (holds() && !release_) {
    if (serves_) return answer(std::nullopt);
    return serve_again(event.token);
  }
  if (linked_ && !diverged()) return answer(detail::reachable("become-primary"));
  if (release_ || forcing_ != 0) return answer(detail::roles_change());
  Epoch last = std::max(record_.reg.epoch, event.log_epoch);
  if (record_.prepared) last = std::max(last, record_.prepared->epoch);
  record_.reg.lineage = event.new_lineage;  // R7
  record_.reg.in_sync = {self_};
  registers_differ_ = histories_differ_ = false;
  forcing_ = event.token;
  take(Epoch{last.value + kForceSkips}, true, {},
       "a person made it the primary without the other node");
}

void RoleCore::force_backup(const AskForce& event) {
  const auto answer = [&](std::optional<Error> refused) {
    act(Answer{event.token, std::move(refused)});
  };
  if (!paired()) return answer(detail::no_peer());
  if (release_) return answer(detail::roles_change());
  if (!holds() || record_.reg.rests) return answer(std::nullopt);
  if (linked_ && !diverged()) return answer(detail::reachable("become-backup"));
  stop_serving();
  record_.reg.rests = true;
  save(Then::nothing).token = event.token;
  settle("a person made it the backup without the other node");
  watch(false);
}

}  // namespace everspan::failover
