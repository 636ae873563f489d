// Plans of two nodes over a world of two modelled bases, one register of roles and one stored
// record: effects may fail, answers may be lost, the driver may die anywhere and go on elsewhere.
#include "upgrade/core/site_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

#include "upgrade/core/plan_codec.h"

namespace everspan::upgrade {
namespace {

NodeId node(std::uint8_t fill) {
  NodeId id;
  id.bytes.fill(fill);
  return id;
}
const NodeId kA = node(1);
const NodeId kB = node(2);

SiteSnapshot snapshot(const NodeId& of) {
  SiteSnapshot site;
  site.node = of;
  site.version = *Version::parse("0.1.0");
  site.base_version = site.version;
  site.digest = "old";
  site.platform = "p";
  SiteSnapshot::Candidate to;
  to.digest = "new";
  to.manifest.kind = "site";
  to.manifest.platform = "p";
  to.manifest.log_format = 1;
  to.manifest.feature_level = 2;
  to.manifest.version = *Version::parse("0.2.0");
  site.releases = {to};
  return site;
}

SitePlan::Stored pair_plan(const std::string& method, bool auto_finalize) {
  Policy policy;
  policy.soak = std::chrono::milliseconds(1000);
  policy.settle = std::chrono::milliseconds(100);
  policy.auto_finalize = auto_finalize;
  auto made = plan_pair(snapshot(kA), snapshot(kB), true, method, policy, {}, PlanId{});
  EXPECT_TRUE(made) << made.error().text();
  return *made;
}

// What the outside is like, and what must hold of it whatever the driver does.
class World {
 public:
  World(const std::string& method, std::uint64_t seed, double trouble)
      : random_(seed), trouble_(trouble) {
    bases_[kA] = bases_[kB] = {"old", "", {}, false};
    record_ = encode_site_plan(begin_site(pair_plan(method, true), WallTime{1}).stored);
    restart();
  }

  void run(int steps) {
    for (int i = 0; i < steps && !done(); ++i) step();
  }
  [[nodiscard]] bool done() const {
    const auto stored = decode_site_plan(record_);
    return stored && ended(*stored);
  }
  [[nodiscard]] SitePlan::Stored stored() const { return *decode_site_plan(record_); }
  [[nodiscard]] const std::string& active(const NodeId& of) const { return bases_.at(of).active; }
  [[nodiscard]] bool good(const NodeId& of) const { return bases_.at(of).good; }
  NodeId primary_ = kA;
  std::uint32_t level_ = 1;
  NodeId bad_node_;              // The new release is unhealthy there.
  std::optional<Action> fails_;  // Always, at bad_node_.
  int hand_overs_ = 0;
  std::vector<std::string> order_;  // Of what took effect.

 private:
  struct Base {
    std::string active;
    std::string candidate;
    std::map<std::string, bool> effects;  // Key: it was done, and how (U2).
    bool good = false;
  };
  struct Job {
    SiteEffect effect;
    Instant due;
  };

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }

  void restart() {
    jobs_.clear();
    auto stored = decode_site_plan(record_);
    ASSERT_TRUE(stored) << stored.error().text();
    plan_ = resume_site(std::move(*stored));
    if (!ended(plan_->stored)) feed(DriverBegan{});
  }

  void feed(const SiteEvent& event) {
    std::deque<SiteEvent> events{event};
    while (!events.empty()) {
      SiteNext result = next(std::move(*plan_), events.front(), {now_, WallTime{now_ms()}});
      events.pop_front();
      plan_ = std::move(result.plan);
      for (SiteEffect& effect : result.effects) {
        if (std::holds_alternative<Save>(effect)) {
          record_ = encode_site_plan(plan_->stored);
          events.emplace_back(Saved{});
        } else {
          jobs_.push_back({std::move(effect), now_ + std::chrono::milliseconds(random_() % 50)});
        }
      }
    }
  }
  [[nodiscard]] std::int64_t now_ms() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(now_.time_since_epoch()).count();
  }

  void step() {
    if (trouble_ > 0 && chance(trouble_ / 20)) return restart();  // Killed; or another node drives.
    if (jobs_.empty()) {
      const Instant wake = wake_at(*plan_);
      ASSERT_NE(wake, Instant::max()) << "nothing is awaited, and it has not ended";
      now_ = std::max(now_, wake);
      return feed(TimePassed{});
    }
    std::ranges::sort(jobs_, {}, &Job::due);
    const Instant wake = wake_at(*plan_);
    if (wake < jobs_.front().due) {
      now_ = std::max(now_, wake);
      return feed(TimePassed{});
    }
    const Job job = std::move(jobs_.front());
    jobs_.erase(jobs_.begin());
    now_ = std::max(now_, job.due);
    std::visit([&](const auto& effect) { perform(effect); }, job.effect);
  }

  void perform(const Save&) {}
  void perform(const NodeDo& what) {
    Base& base = bases_.at(what.node);
    const auto known = base.effects.find(what.key);
    bool ok = true;
    if (known != base.effects.end()) {
      ok = known->second;
    } else {
      ok = !(fails_ == what.action && what.node == bad_node_) && !chance(trouble_ / 10);
      base.effects[what.key] = ok;
      if (ok) take_effect(base, what);
    }
    if (chance(trouble_ / 10)) return;  // The answer is lost: the deadline ends the wait.
    feed(Answered{what.key, ok, ok ? "" : "refused", ok ? "" : "no"});
  }
  void take_effect(Base& base, const NodeDo& what) {
    order_.push_back(std::string(word(what.action)) + (what.node == kA ? "@a" : "@b"));
    switch (what.action) {
      case Action::start_candidate:
        base.candidate = "new";
        break;
      case Action::stop_candidate:
        base.candidate.clear();
        break;
      case Action::switch_over:
        if (base.candidate != "new") break;
        base.active = "new";
        base.candidate = "old";
        // V1: the other node stands by, with a release that is whole.
        EXPECT_TRUE(active(kA) == "old" || active(kB) == "old" || base.active == "new");
        break;
      case Action::back:
        base.active = "old";
        base.candidate.clear();
        EXPECT_FALSE(base.good) << "U5";
        break;
      case Action::good:
        base.good = true;
        EXPECT_EQ(active(kA), "new") << "V2";
        EXPECT_EQ(active(kB), "new") << "V2";
        break;
      case Action::raise_level:
        EXPECT_TRUE(good(kA) && good(kB)) << "V2";
        level_ = 2;
        break;
      default:
        break;
    }
  }
  void perform(const HandOver& what) {
    if (!chance(trouble_ / 10) && primary_ != what.to) {
      primary_ = what.to;
      hand_overs_ += 1;
      order_.push_back(what.to == kA ? "handover@a" : "handover@b");
      return restart();  // The driver is gone with the role; the new primary begins.
    }
    feed(Answered{what.key, primary_ == what.to, "refused", "no"});
  }
  void perform(const NodeQuery& what) {
    const Base& base = bases_.at(what.node);
    const auto known = base.effects.find(what.key);
    const bool has = known != base.effects.end();
    feed(QueryAnswered{what.key, has, has && known->second, "", ""});
  }
  void perform(const NodeObserve& what) {
    const Base& base = bases_.at(what.node);
    Observation seen;
    seen.active_digest = base.active;
    seen.candidate_digest = base.candidate;
    seen.candidate_ready = !base.candidate.empty();
    seen.staged = {"old", "new"};
    seen.feature_level = level_;
    feed(NodeObserved{what.node, seen});
  }
  void perform(const NodeSample& what) {
    const bool bad = !fails_ && what.node == bad_node_ && active(what.node) == "new";
    feed(NodeHealth{what.node, {!bad, bad ? "503" : ""}});
  }
  void perform(const ObserveRoles&) { feed(RolesObserved{{primary_, true}}); }

  std::mt19937_64 random_;
  double trouble_;
  std::map<NodeId, Base> bases_;
  std::string record_;
  std::optional<SitePlan> plan_;
  std::vector<Job> jobs_;
  Instant now_{std::chrono::seconds(1)};
};

constexpr int kSteps = 20'000;

void expect_whole(const World& world) {
  const SitePlan::Stored end = world.stored();
  if (end.status == Status::upgraded) {
    EXPECT_EQ(world.active(kA), "new");
    EXPECT_EQ(world.active(kB), "new");
    EXPECT_EQ(world.level_, 2U);
  } else {
    EXPECT_EQ(world.active(kA), "old") << word(end.status) << ": " << end.why;
    EXPECT_EQ(world.active(kB), "old") << word(end.status) << ": " << end.why;
    EXPECT_EQ(world.primary_, kA) << "the first primary serves again";
    EXPECT_EQ(world.level_, 1U);
  }
}

TEST(SitePlan, async_upgrades_the_backup_hands_over_and_upgrades_the_other) {
  World world("async", 1, 0);
  world.run(kSteps);
  ASSERT_TRUE(world.done());
  EXPECT_EQ(world.stored().status, Status::upgraded);
  expect_whole(world);
  EXPECT_EQ(world.primary_, kB);
  const auto& order = world.order_;
  const auto at = [&](const char* what) {
    return std::ranges::find(order, std::string(what)) - order.begin();
  };
  EXPECT_LT(at("switch@b"), at("handover@b"));
  EXPECT_LT(at("handover@b"), at("start_candidate@a"));
  EXPECT_LT(at("switch@a"), at("good@b"));
  EXPECT_LT(at("good@b"), at("raise_level@a"));
}

TEST(SitePlan, sync_upgrades_the_primary_first_and_leaves_the_roles) {
  World world("sync", 1, 0);
  world.run(kSteps);
  ASSERT_TRUE(world.done());
  expect_whole(world);
  EXPECT_EQ(world.stored().status, Status::upgraded) << world.stored().why;
  EXPECT_EQ(world.hand_overs_, 0);
  EXPECT_EQ(world.primary_, kA);
}

TEST(SitePlan, a_bad_second_node_takes_everything_back_in_reverse) {
  for (const std::string method : {"async", "sync"}) {
    World world(method, 3, 0);
    world.bad_node_ = method == "async" ? kA : kB;
    world.run(kSteps);
    ASSERT_TRUE(world.done()) << method;
    EXPECT_EQ(world.stored().status, Status::rolled_back) << method;
    expect_whole(world);
  }
}

TEST(SitePlan, a_first_node_that_never_switches_leaves_the_other_alone) {
  World world("async", 3, 0);
  world.bad_node_ = kB;
  world.fails_ = Action::probe;
  world.run(kSteps);
  ASSERT_TRUE(world.done());
  expect_whole(world);
  EXPECT_EQ(world.hand_overs_, 0);
  EXPECT_EQ(std::ranges::count(world.order_, "start_candidate@a"), 0);
}

TEST(SitePlan, ends_whole_whatever_fails_and_whoever_drives) {
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    World world(seed % 2 == 0 ? "async" : "sync", seed, 0.3);
    if (seed % 5 == 1) world.bad_node_ = kA;
    if (seed % 5 == 2) world.bad_node_ = kB;
    world.run(kSteps);
    ASSERT_TRUE(world.done()) << "seed " << seed << ": " << flat(world.stored()).cursor;
    // With answers that fail for ever it may park; never here, for troubles pass.
    expect_whole(world);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

TEST(SitePlan, is_stored_and_read_as_it_was) {
  World world("async", 7, 0);
  world.run(60);
  const SitePlan::Stored before = world.stored();
  const auto again = decode_site_plan(encode_site_plan(before));
  ASSERT_TRUE(again) << again.error().text();
  EXPECT_EQ(encode_site_plan(*again), encode_site_plan(before));
  EXPECT_EQ(flat(before).plan.steps.size(), flat(*again).plan.steps.size());
}

TEST(SitePlan, is_refused_where_there_is_no_standby) {
  const auto out_of_sync = plan_pair(snapshot(kA), snapshot(kB), false, "async", {}, {}, PlanId{});
  EXPECT_EQ(out_of_sync ? "" : out_of_sync.error().code, "not_in_sync");
  SiteSnapshot other = snapshot(kB);
  other.digest = "another";
  const auto mixed = plan_pair(snapshot(kA), other, true, "sync", {}, {}, PlanId{});
  EXPECT_EQ(mixed ? "" : mixed.error().code, "mixed");
  const auto method = plan_pair(snapshot(kA), snapshot(kB), true, "quick", {}, {}, PlanId{});
  EXPECT_EQ(method ? "" : method.error().code, "bad_method");
}

}  // namespace
}  // namespace everspan::upgrade
