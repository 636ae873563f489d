// The runner over a node that is modelled: it saves before it acts, goes on after a restart, and
// stops when another process writes.
#include "upgrade/runner.h"

#include <gtest/gtest.h>

#include "common/crypto.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::upgrade {
namespace {

using net::Task;
using namespace std::chrono_literals;

// A node whose base switches inside one process: enough to see the whole plan through.
class FakeNode : public UpgradeEffects {
 public:
  Task<Result<SiteSnapshot>> site_snapshot(bool) override {
    SiteSnapshot site;
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
    co_return site;
  }
  Task<Result<std::optional<std::string>>> load_plan() override { co_return record; }
  Task<Result<void>> save_plan(std::string bytes, RequestId request) override {
    if (!request.is_zero()) requests.push_back(request);
    if (!writer) co_return fail("not_writer", "Another process writes");
    record = std::move(bytes);
    saves += 1;
    co_return Result<void>{};
  }
  Task<Result<void>> perform(Action action, EffectCall call) override {
    const auto stored = decode_plan(*record);
    EXPECT_TRUE(stored);
    // What goes out now must be stored as begun (U1).
    EXPECT_EQ(call.key, effect_key(*stored, stored->plan.steps[stored->cursor].id,
                                   stored->plan.steps[stored->cursor].attempt));
    done.push_back(std::string(word(action)));
    if (stop_at == action) {
      writer = false;
      co_return fail("base_gone", "x");
    }
    if (action == Action::fetch) seen.staged = {"new"};
    if (action == Action::start_candidate)
      seen.candidate_digest = "new", seen.candidate_ready = true;
    if (action == Action::switch_over) seen.active_digest = "new", seen.candidate_digest.clear();
    if (action == Action::raise_level) seen.feature_level = 2;
    co_return Result<void>{};
  }
  Task<Result<std::optional<SiteSnapshot>>> backup_snapshot(bool) override {
    co_return std::optional<SiteSnapshot>();
  }
  Task<Result<std::optional<EffectAnswer>>> query(NodeId, std::string) override {
    co_return std::optional<EffectAnswer>();
  }
  Task<Result<Observation>> observe(NodeId) override { co_return seen; }
  Task<Result<Health>> sample_health(NodeId) override { co_return Health{true, ""}; }
  Task<Result<Roles>> observe_roles() override { co_return Roles{}; }
  Task<Result<void>> hand_over(NodeId) override { co_return fail("no_peer", "one node"); }
  void step_changed(const Plan&, const Step& step) override {
    told.push_back(step.id + " " + std::string(word(step.state)));
  }

  std::optional<std::string> record;
  Observation seen{.active_digest = "old", .feature_level = 1};
  bool writer = true;
  std::optional<Action> stop_at;
  int saves = 0;
  std::vector<RequestId> requests;  // Those that came with a save.
  std::vector<std::string> done;
  std::vector<std::string> told;
};

class Runner : public ::testing::Test {
 protected:
  ApplyRequest request(bool auto_finalize) {
    ApplyRequest out;
    out.policy.soak = 20ms;
    out.policy.settle = 1ms;
    out.policy.auto_finalize = auto_finalize;
    return out;
  }
  // Runs the loop until `test` has ended.
  void drive(Task<void> test) {
    net::TaskScope scope(loop.get_executor());
    scope.spawn("test", std::move(test));
    loop.restart();
    loop.run_for(20s);
    ASSERT_EQ(scope.running(), 0) << "it did not end in time";
  }
  Task<void> wait_for(UpgradeRunner& runner, std::string state) {
    const Instant deadline = net::now() + 15s;
    for (;;) {
      const std::string is = runner.progress().state;
      if (is == state || net::now() > deadline) {
        EXPECT_EQ(is, state);
        co_return;
      }
      const bool on = co_await net::sleep_for(1ms);
      if (!on) co_return;
    }
  }
  Task<void> keep_running(UpgradeRunner& runner) {
    ended = co_await runner.run();
    running = false;
  }
  Task<void> whole_way();
  Task<void> another_writes();
  Task<void> person();

  net::asio::io_context loop;
  FakeNode node;
  Result<void> ended;
  bool running = true;
};

Task<void> Runner::whole_way() {
  UpgradeRunner runner(loop.get_executor(), node);
  net::TaskScope scope(loop.get_executor());
  scope.spawn("run", keep_running(runner));
  const bool on = co_await net::sleep_for(1ms);
  EXPECT_TRUE(on);
  const auto dry = co_await runner.dry_run(request(true));
  EXPECT_TRUE(dry);
  EXPECT_FALSE(node.record) << "a dry run stores nothing";
  const auto id = co_await runner.apply(request(true));
  EXPECT_TRUE(id);
  const auto second = co_await runner.apply(request(true));
  EXPECT_EQ(second ? "" : second.error().code, "busy");
  co_await wait_for(runner, "done");
  scope.cancel();
  co_await scope.join();
  EXPECT_EQ(ended ? "" : ended.error().code, "cancelled");
}

TEST_F(Runner, TakesAPlanToItsEnd) {
  drive(whole_way());
  EXPECT_EQ(node.done,
            (std::vector<std::string>{"resolve", "fetch", "preflight", "backup", "start_candidate",
                                      "probe", "switch", "good", "raise_level"}));
  EXPECT_EQ(node.told.back(), "finalise done");
  const auto stored = decode_plan(*node.record);
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->status, Status::upgraded);
}

Task<void> Runner::another_writes() {
  UpgradeRunner first(loop.get_executor(), node);
  net::TaskScope scope(loop.get_executor());
  scope.spawn("run", keep_running(first));
  const bool on = co_await net::sleep_for(1ms);
  EXPECT_TRUE(on);
  node.stop_at = Action::preflight;
  const auto id = co_await first.apply(request(true));
  EXPECT_TRUE(id);
  const Instant deadline = net::now() + 10s;
  while (running && net::now() < deadline) {
    const bool go = co_await net::sleep_for(1ms);
    if (!go) break;
  }
  co_await scope.join();
  EXPECT_EQ(ended ? "" : ended.error().code, "not_writer");

  // Another process takes it up where the stored plan is.
  node.stop_at.reset();
  node.writer = true;
  node.done.clear();
  UpgradeRunner next(loop.get_executor(), node);
  scope.spawn("run", keep_running(next));
  co_await wait_for(next, "done");
  scope.cancel();
  co_await scope.join();
}

TEST_F(Runner, StopsWhenAnotherProcessWritesAndTheNextOneGoesOn) {
  drive(another_writes());
  ASSERT_FALSE(node.done.empty());
  EXPECT_EQ(node.done.front(), "preflight") << "the step whose answer was lost, under the same key";
}

Task<void> Runner::person() {
  UpgradeRunner runner(loop.get_executor(), node);
  net::TaskScope scope(loop.get_executor());
  scope.spawn("run", keep_running(runner));
  const bool on = co_await net::sleep_for(1ms);
  EXPECT_TRUE(on);
  const auto none = co_await runner.request(Request::pause);
  EXPECT_EQ(none ? "" : none.error().code, "no_plan");
  ApplyRequest apply = request(false);
  apply.request = random_id<RequestId>();
  apply.plan = random_id<PlanId>();
  const auto id = co_await runner.apply(apply);
  EXPECT_TRUE(id && *id == apply.plan);
  co_await wait_for(runner, "awaiting_finalize");
  const int before = node.saves;
  const RequestId finalize = random_id<RequestId>();
  const auto asked = co_await runner.request(Request::finalize, finalize);
  EXPECT_TRUE(asked);
  EXPECT_GT(node.saves, before) << "stored when the call returned";
  EXPECT_EQ(node.requests, (std::vector{apply.request, finalize})) << "each with one save";
  co_await wait_for(runner, "done");
  const auto late = co_await runner.request(Request::rollback);
  EXPECT_EQ(late ? "" : late.error().code, "ended");
  scope.cancel();
  co_await scope.join();
}

TEST_F(Runner, WaitsForThePersonToFinalise) {
  drive(person());
}

}  // namespace
}  // namespace everspan::upgrade
