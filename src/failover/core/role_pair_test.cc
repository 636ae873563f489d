// Two cores joined by a link in memory, each with a write path that answers at once: what people
// and plans do to a pair, and what each half-done state comes to.
#include <gtest/gtest.h>

#include <map>

#include "failover/core/role_core.h"

namespace everspan::failover {
namespace {

using namespace std::chrono_literals;
using R = RoleCore;

template <class IdType>
IdType id(std::uint8_t fill) {
  IdType out;
  out.bytes.fill(fill);
  return out;
}
const NodeId kA = id<NodeId>(0xA);
const NodeId kB = id<NodeId>(0xB);
const LineageId kLine = id<LineageId>(1);
const LineageId kForced = id<LineageId>(2);
const LineageId kThird = id<LineageId>(3);

struct Side {
  explicit Side(NodeId self) : self(self), core(self, {}) {}
  NodeId self;
  RoleCore core;
  RoleRecord disk;
  std::deque<R::Action> actions;
  std::deque<R::Event> inbox;
  std::map<std::uint64_t, std::string> answers;
  std::vector<Epoch> granted;
  bool alive = true;
  bool disk_stops = false;   // Saves do not end.
  bool loses_words = false;  // What it sends is lost.
  bool told_broken = false;
  R::Ship ship;
};

class Pair : public testing::Test {
 protected:
  Pair() {
    a.disk = {{kLine, Epoch{5}, kA, {kA, kB}, false}, kB, std::nullopt, false, ""};
    b.disk = {{kLine, Epoch{5}, kA, {kA, kB}, false}, kA, std::nullopt, false, ""};
    start(a);
    start(b);
    link();
  }
  Side& other(Side& side) { return &side == &a ? b : a; }
  void start(Side& side) {
    side.core = RoleCore(side.self, {});
    side.actions.clear();
    side.inbox.clear();
    side.alive = true;
    feed(side, R::Begun{side.disk, head, now});
  }
  void kill(Side& side) {
    side.alive = false;
    side.actions.clear();
    side.inbox.clear();
    unlink();
  }
  void link() {
    linked = true;
    for (Side* side : {&a, &b}) side->inbox.clear();
    const Register of_a = a.disk.reg, of_b = b.disk.reg;
    a.inbox.push_back(R::LinkUp{of_b, now});
    b.inbox.push_back(R::LinkUp{of_a, now});
    run();
    // Both logs are the same: the leader hears so on each link.
    for (Side* side : {&a, &b})
      if (side->ship.leader) feed(*side, R::PeerHas{head.revision, now});
  }
  void unlink() {
    if (!linked) return;
    linked = false;
    for (Side* side : {&a, &b}) {
      side->inbox.clear();
      if (side->alive) feed(*side, R::LinkDown{now});
    }
  }
  void feed(Side& side, const R::Event& event) {
    side.inbox.push_back(event);
    run();
  }
  std::string ask(Side& side, const R::Event& event, std::uint64_t token) {
    feed(side, event);
    return side.answers.contains(token) ? side.answers[token] : "no answer";
  }
  std::string become_primary(Side& side) {
    const std::uint64_t token = ++tokens;
    return ask(side, R::Ask{token, true, now}, token);
  }
  std::string become_backup(Side& side) {
    const std::uint64_t token = ++tokens;
    return ask(side, R::Ask{token, false, now}, token);
  }
  std::string force(Side& side, bool primary, LineageId lineage = kForced) {
    const std::uint64_t token = ++tokens;
    return ask(side, R::AskForce{token, primary, lineage, Epoch{6}, now}, token);
  }
  std::string establish(Side& side, Register reg, bool yields = false) {
    const std::uint64_t token = ++tokens;
    return ask(side, R::Established{token, other(side).self, std::move(reg), yields, head, now},
               token);
  }
  std::string broken(Side& side) {
    const std::uint64_t token = ++tokens;
    return ask(side, R::Broken{token, kThird, now}, token);
  }
  void run() {
    for (bool more = true; more;) {
      more = false;
      for (Side* side : {&a, &b}) more = step(*side) || more;
    }
  }
  bool step(Side& side) {
    if (!side.alive) return false;
    if (!side.actions.empty()) {
      if (side.disk_stops && std::holds_alternative<R::Save>(side.actions.front())) {
        return deliver(side);
      }
      const R::Action action = std::move(side.actions.front());
      side.actions.pop_front();
      perform(side, action);
      return true;
    }
    return deliver(side);
  }
  bool deliver(Side& side) {
    if (side.inbox.empty()) return false;
    const R::Event event = std::move(side.inbox.front());
    side.inbox.pop_front();
    for (R::Action& action : side.core.handle(event)) side.actions.push_back(std::move(action));
    return true;
  }
  void send(Side& side, R::Event event) {
    if (linked && !side.loses_words) other(side).inbox.push_back(std::move(event));
  }
  void perform(Side& side, const R::Action& action) {
    const auto is = [&]<class A>(const A*& out) { return (out = std::get_if<A>(&action)); };
    if (const R::Save* save = nullptr; is(save)) {
      side.disk = save->record;
      side.inbox.push_back(R::Saved{save->number});
    } else if (const R::Grant* grant = nullptr; is(grant)) {
      side.granted.push_back(grant->epoch);
      side.inbox.push_back(R::Raised{grant->epoch});
    } else if (const R::AskRelease* let_go = nullptr; is(let_go)) {
      side.inbox.push_back(R::Quiet{let_go->epoch, head});
    } else if (const R::SetConfirmers* set = nullptr; is(set)) {
      side.inbox.push_back(R::ConfirmersSet{set->number});
    } else if (const R::SendAsk* asks = nullptr; is(asks)) {
      send(side, R::PeerAsks{asks->token, now});
    } else if (const R::SendAskReply* reply = nullptr; is(reply)) {
      send(side, R::PeerAsksAnswered{reply->token, reply->refused});
    } else if (const R::SendPrepare* prepare = nullptr; is(prepare)) {
      send(side, R::PeerPrepare{prepare->what});
    } else if (const R::SendPrepared* prepared = nullptr; is(prepared)) {
      send(side, R::PeerPrepared{prepared->epoch});
    } else if (const R::SendRefused* refused = nullptr; is(refused)) {
      send(side, R::PeerRefused{refused->epoch, refused->code, refused->message});
    } else if (const R::SendAbort* abort = nullptr; is(abort)) {
      send(side, R::PeerAbort{abort->epoch});
    } else if (const R::SendRegister* word = nullptr; is(word)) {
      send(side, R::PeerRegister{word->reg});
    } else if (std::holds_alternative<R::SendBroken>(action)) {
      send(side, R::Broken{0, {}, now});
      side.told_broken = true;
    } else if (const R::Ship* ship = nullptr; is(ship)) {
      side.ship = *ship;
      if (ship->leader && linked) side.inbox.push_back(R::PeerHas{head.revision, now});
    } else if (const R::Answer* answer = nullptr; is(answer)) {
      EXPECT_FALSE(side.answers.contains(answer->token)) << "answered twice";
      side.answers[answer->token] = answer->refused ? answer->refused->code : "ok";
    }
  }
  [[nodiscard]] std::string roles() const {
    return std::string(word(a.core.role())) + "/" + std::string(word(b.core.role()));
  }

  Instant now = Instant(1h);
  store::LogHead head{Revision{10}, {}};
  Side a{kA}, b{kB};
  bool linked = false;
  std::uint64_t tokens = 0;
};

TEST_F(Pair, hands_over_and_back_asked_on_either_side) {
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_EQ(become_backup(a), "ok");
  EXPECT_EQ(roles(), "backup/primary");
  EXPECT_EQ(b.disk.reg.epoch, Epoch{6});
  EXPECT_EQ(a.disk.reg, b.disk.reg);
  EXPECT_EQ(become_primary(a), "ok");
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_EQ(a.disk.reg.epoch, Epoch{7});
  EXPECT_TRUE(a.ship.leader);
  EXPECT_TRUE(b.ship.follower);
}

TEST_F(Pair, asked_for_what_is_so_already_it_agrees) {
  EXPECT_EQ(become_primary(a), "ok");
  EXPECT_EQ(become_backup(b), "ok");
  EXPECT_EQ(a.disk.reg.epoch, Epoch{5});
}

// Cell 3 and 5: the word is lost after the commit point.
TEST_F(Pair, what_was_released_unheard_is_taken_from_the_next_greeting) {
  a.disk_stops = true;
  become_backup(a);
  ASSERT_TRUE(b.disk.prepared);
  a.loses_words = true;
  a.disk_stops = false;
  run();
  EXPECT_EQ(a.disk.reg.holder, kB);
  unlink();
  EXPECT_EQ(roles(), "backup/in_doubt");
  EXPECT_EQ(become_primary(b), "in_doubt");
  a.loses_words = false;
  link();
  EXPECT_EQ(roles(), "backup/primary");
}

// Cell 2: it died before the commit point.
TEST_F(Pair, a_primary_that_died_before_the_commit_point_goes_on_and_the_backup_drops_its_promise) {
  a.disk_stops = true;
  become_backup(a);
  ASSERT_TRUE(b.disk.prepared);
  kill(a);
  EXPECT_EQ(b.core.role(), Role::in_doubt);
  a.disk_stops = false;
  start(a);
  EXPECT_EQ(a.core.role(), Role::primary);
  link();
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_FALSE(b.disk.prepared);
}

// Cell 4: the greeting was sent before the commit point, and the commit came after it.
TEST_F(Pair, a_commit_point_after_the_greeting_still_reaches_the_other) {
  a.disk_stops = true;
  become_backup(a);
  unlink();
  link();  // Says epoch 5.
  EXPECT_FALSE(b.disk.prepared);
  EXPECT_FALSE(b.core.serves());
  a.disk_stops = false;
  run();
  EXPECT_EQ(roles(), "backup/primary");
}

// Cells 6 and 7.
TEST_F(Pair, a_hand_over_that_was_given_up_leaves_no_promise) {
  b.disk_stops = true;
  become_backup(a);
  unlink();
  EXPECT_EQ(a.disk.reg.epoch, Epoch{7});
  b.disk_stops = false;
  run();
  EXPECT_TRUE(b.disk.prepared);
  EXPECT_EQ(roles(), "primary/in_doubt");
  link();
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_EQ(a.disk.reg, b.disk.reg);
  EXPECT_FALSE(b.disk.prepared);
}

// Cells 8, 9 and 11.
TEST_F(Pair, forced_while_the_other_lives_both_keep_their_history_until_a_person_picks) {
  EXPECT_EQ(force(b, true), "reachable");
  unlink();
  EXPECT_EQ(force(b, true), "ok");
  EXPECT_GT(b.disk.reg.epoch, Epoch{1000});
  EXPECT_EQ(b.disk.reg.in_sync, std::vector<NodeId>{kB});
  link();
  EXPECT_EQ(roles(), "diverged/diverged");
  EXPECT_TRUE(a.core.serves());
  EXPECT_TRUE(b.core.serves());
  EXPECT_FALSE(a.ship.leader || a.ship.follower || b.ship.leader || b.ship.follower);
  // Cell 14: the person picks B. What only A has committed is for the shipping to find.
  EXPECT_EQ(force(a, false), "ok");
  EXPECT_EQ(roles(), "backup/primary");
  EXPECT_EQ(a.disk.reg.lineage, kForced);
  EXPECT_TRUE(b.ship.leader);
  EXPECT_TRUE(a.ship.follower);
}

// Cell 12.
TEST_F(Pair, who_had_released_follows_the_one_that_was_forced) {
  a.disk_stops = true;
  become_backup(a);
  a.loses_words = true;
  a.disk_stops = false;
  run();
  unlink();
  EXPECT_EQ(force(b, true), "ok");
  a.loses_words = false;
  link();
  EXPECT_EQ(roles(), "backup/primary");
  EXPECT_EQ(a.disk.reg, b.disk.reg);
}

// Cell 10.
TEST_F(Pair, who_had_released_to_a_node_that_is_gone_is_forced_back) {
  become_backup(a);
  kill(b);
  EXPECT_EQ(become_primary(a), "unreachable");
  EXPECT_EQ(force(a, true), "ok");
  EXPECT_EQ(a.core.role(), Role::primary);
  EXPECT_EQ(a.disk.reg.lineage, kForced);
}

// Cell 13.
TEST_F(Pair, a_primary_that_a_person_made_rest_serves_again_or_hands_over) {
  EXPECT_EQ(force(a, false), "reachable");
  unlink();
  EXPECT_EQ(force(a, false), "ok");
  EXPECT_TRUE(a.disk.reg.rests);
  EXPECT_EQ(roles(), "backup/backup");
  start(a);
  EXPECT_FALSE(a.core.serves());
  EXPECT_EQ(become_primary(a), "ok");
  EXPECT_EQ(a.core.role(), Role::primary);
  EXPECT_EQ(a.disk.reg.lineage, kLine);

  EXPECT_EQ(force(a, false), "ok");
  link();
  EXPECT_EQ(roles(), "backup/backup");
  EXPECT_EQ(become_primary(b), "ok");
  EXPECT_EQ(roles(), "backup/primary");
  EXPECT_FALSE(b.disk.reg.rests);
}

TEST_F(Pair, broken_the_holder_goes_on_in_a_history_of_its_own) {
  EXPECT_EQ(broken(b), "ok");
  EXPECT_TRUE(b.told_broken);
  EXPECT_EQ(roles(), "alone/backup");
  EXPECT_TRUE(a.core.serves());
  EXPECT_FALSE(a.disk.reg.lineage == kLine);
  EXPECT_EQ(a.disk.reg.in_sync, std::vector<NodeId>{kA});
  EXPECT_EQ(become_primary(b), "no_peer");
  // The one that serves nothing can be made a site of its own.
  EXPECT_EQ(force(b, true), "ok");
  EXPECT_EQ(b.core.role(), Role::alone);
}

// Cell 15, and the way back.
TEST_F(Pair, broken_unheard_and_established_again) {
  unlink();
  EXPECT_EQ(broken(a), "ok");
  EXPECT_EQ(roles(), "alone/backup");
  Register reg = a.disk.reg;
  EXPECT_EQ(establish(b, reg), "ok");
  EXPECT_EQ(establish(a, reg), "ok");
  link();
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_EQ(a.disk.reg.in_sync, (std::vector<NodeId>{kA, kB}));
  EXPECT_EQ(a.disk.reg, b.disk.reg);
}

TEST_F(Pair, no_break_in_the_middle_of_a_hand_over) {
  a.disk_stops = true;
  become_backup(a);
  EXPECT_EQ(broken(b), "busy");
  EXPECT_EQ(broken(a), "no answer");
  a.disk_stops = false;
  run();
  EXPECT_EQ(a.answers[tokens], "busy");
  EXPECT_EQ(roles(), "backup/primary");
}

TEST_F(Pair, the_loser_that_a_person_picked_yields_until_it_is_in_sync) {
  unlink();
  force(b, true);
  link();
  ASSERT_EQ(roles(), "diverged/diverged");
  Register reg = a.disk.reg;
  reg.in_sync = {kA};
  b.disk_stops = true;
  EXPECT_EQ(establish(b, reg, true), "no answer");
  EXPECT_FALSE(b.core.serves());
  b.disk_stops = false;
  run();
  EXPECT_TRUE(b.disk.yields);
  EXPECT_EQ(establish(a, reg), "ok");
  EXPECT_EQ(roles(), "primary/backup");
  EXPECT_EQ(a.disk.reg.in_sync, (std::vector<NodeId>{kA, kB}));
  EXPECT_FALSE(b.disk.yields);
}

TEST_F(Pair, each_ask_is_answered_once_when_the_link_goes) {
  a.disk_stops = true;
  EXPECT_EQ(become_primary(b), "no answer");
  unlink();
  EXPECT_EQ(b.answers[tokens], "in_doubt");
  a.disk_stops = false;
  run();
  EXPECT_EQ(b.answers.size(), 1U);
}

}  // namespace
}  // namespace everspan::failover
