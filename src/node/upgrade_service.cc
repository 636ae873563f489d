#include "node/upgrade_service.h"

#include <unistd.h>

#include "common/log.h"
#include "common/version.h"
#include "proto/base.pb.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kBaseAnswersWithin = 5s;

template <class T>
net::Task<T> on(net::Executor executor, net::Task<T> task) {
  co_return co_await net::asio::co_spawn(executor, std::move(task), net::asio::use_awaitable);
}

}  // namespace

NodeUpgrade::NodeUpgrade(Parts parts)
    : parts_(std::move(parts)),
      writes_again_(parts_.control),
      moves_ended_(parts_.control),
      metadata_(std::make_shared<std::mutex>()) {}
NodeUpgrade::~NodeUpgrade() = default;

void NodeUpgrade::start_runner() {
  if (runner_ != nullptr) return writes_again_.notify();
  runner_ = std::make_unique<upgrade::UpgradeRunner>(parts_.control, *this);
  runner_tasks_ = std::make_unique<net::TaskScope>(parts_.control);
  runner_tasks_->spawn("upgrade-runner", run_runner());
}

// A restarted base grants its writer anew: for a moment this process does not write, and the runner
// ends if it saves just then. Whoever writes drives the plan, so it begins again, with what is
// stored.
net::Task<> NodeUpgrade::run_runner() {
  for (;;) {
    const Result<void> ended = co_await runner_->run();
    if (ended) co_return;
    log_info("upgrade.runner_ended", {{"why", ended.error().text()}});
    const std::string& code = ended.error().code;
    if (code != "not_writer" && code != "superseded" && code != "released") co_return;
    while (!parts_.serving()) {
      const bool notified = co_await writes_again_.wait_until(Instant::max());
      if (!notified) co_return;  // stop_runner()
    }
    const bool stopped = co_await net::is_cancelled();
    if (stopped) co_return;
    runner_ = std::make_unique<upgrade::UpgradeRunner>(parts_.control, *this);
  }
}

net::Task<> NodeUpgrade::stop_runner() {
  if (runner_ == nullptr) co_return;
  // Taken out first: a start_runner() that comes meanwhile begins a new one.
  const std::unique_ptr<net::TaskScope> tasks = std::move(runner_tasks_);
  const std::unique_ptr<upgrade::UpgradeRunner> runner = std::move(runner_);
  tasks->cancel();
  co_await tasks->join();
}

void NodeUpgrade::expect_moves() {
  moves_ = Moves{0, 0, 1};  // Until the other process has counted.
}
void NodeUpgrade::set_moves(const Moves& moves) {
  moves_ = moves;
  if (moves.left == 0) moves_ended_.notify();
}
void NodeUpgrade::no_more_moves() {
  if (moves_) moves_->left = 0;  // What was left there dials anew, by its orders.
  moves_ended_.notify();
}

net::Task<Result<std::unique_ptr<pb::BaseReply>>> NodeUpgrade::base_status() {
  auto request = std::make_unique<pb::BaseRequest>();
  request->set_key("status/" + std::to_string(getpid()) + "/" + std::to_string(next_status_++));
  request->mutable_status();
  Result<std::unique_ptr<pb::BaseReply>> reply =
      co_await parts_.base.request(std::move(request), net::now() + kBaseAnswersWithin);
  co_return reply;
}

net::Task<Result<void>> NodeUpgrade::ask_base(std::unique_ptr<pb::BaseRequest> request,
                                              Duration within) {
  Result<std::unique_ptr<pb::BaseReply>> reply =
      co_await parts_.base.request(std::move(request), net::now() + within);
  if (!reply) co_return fail(reply);
  if ((*reply)->ok()) co_return Result<void>();
  co_return fail((*reply)->code(), (*reply)->message(), {}, (*reply)->next());
}

net::Task<Result<std::optional<std::string>>> NodeUpgrade::load_plan() {
  Result<std::optional<store::Record>> record = parts_.log.get("plan", "current");
  if (!record) co_return fail(record);
  if (!record->has_value()) co_return std::optional<std::string>();
  co_return std::optional<std::string>((*record)->bytes);
}

net::Task<Result<void>> NodeUpgrade::save_plan(std::string record, RequestId request) {
  // Only the writer drives a plan: a forwarded save would let two drive it.
  if (!parts_.serving()) co_return fail("not_writer", "This process does not write any more");
  store::Transaction transaction;
  transaction.request_id = request;
  transaction.writes.push_back(store::Write::put("plan", "current", std::move(record)));
  const Result<store::Outcome> saved = co_await parts_.writes.submit(std::move(transaction));
  if (!saved) co_return fail(saved);
  co_return Result<void>();
}

net::Task<Result<std::optional<upgrade::EffectAnswer>>> NodeUpgrade::query_here(std::string key) {
  auto request = std::make_unique<pb::BaseRequest>();
  request->set_key("query/" + std::to_string(getpid()) + "/" + std::to_string(next_status_++));
  request->mutable_query()->set_of(key);
  Result<std::unique_ptr<pb::BaseReply>> reply =
      co_await parts_.base.request(std::move(request), net::now() + kBaseAnswersWithin);
  if (!reply) co_return fail(reply);
  if (!(*reply)->known()) co_return std::optional<upgrade::EffectAnswer>();
  co_return std::optional<upgrade::EffectAnswer>(
      upgrade::EffectAnswer{(*reply)->ok(), (*reply)->code(), (*reply)->message()});
}

net::Task<Result<upgrade::Observation>> NodeUpgrade::observe_here() {
  Result<std::unique_ptr<pb::BaseReply>> reply = co_await base_status();
  if (!reply) co_return fail(reply);
  upgrade::Observation seen;
  const pb::BaseStatus& status = (*reply)->status();
  for (const pb::Slot& slot : status.slots()) {
    if (slot.role() == pb::SLOT_ACTIVE) seen.active_digest = slot.digest();
    if (slot.role() == pb::SLOT_CANDIDATE) {
      seen.candidate_digest = slot.digest();
      seen.candidate_ready = slot.ready();
    }
  }
  for (const pb::StagedRelease& release : status.releases())
    if (release.verified()) seen.staged.push_back(release.digest());
  seen.last_switch = status.last_switch();
  seen.feature_level = parts_.view.feature_level();
  co_return seen;
}

void NodeUpgrade::step_changed(const upgrade::Plan& plan, const upgrade::Step& step) {
  store::JournalEntry entry;
  entry.who = "upgrade";
  entry.what = "upgrade.step";
  entry.subject = plan.id.hex();
  entry.at = net::wall_now();
  entry.detail = "{\"step\":\"" + std::string(upgrade::word(step.kind)) + "\",\"state\":\"" +
                 std::string(upgrade::word(step.state)) +
                 "\",\"attempt\":" + std::to_string(step.attempt) + ",\"from\":\"" +
                 plan.from.version + "\",\"to\":\"" + plan.to.version + "\"}";
  log_info("upgrade.step", {{"plan", plan.id.hex()},
                            {"step", std::string(upgrade::word(step.kind))},
                            {"state", std::string(upgrade::word(step.state))},
                            {"detail", step.detail}});
  parts_.journal.append(std::move(entry));
}

net::Task<Result<upgrade::Plan>> NodeUpgrade::plan(upgrade::ApplyRequest request) {
  co_return co_await on(parts_.control, plan_here(std::move(request)));
}
net::Task<Result<api::UpgradeAsked>> NodeUpgrade::apply(upgrade::ApplyRequest request) {
  co_return co_await on(parts_.control, apply_here(std::move(request)));
}
net::Task<Result<api::UpgradeAsked>> NodeUpgrade::request(upgrade::Request what, RequestId id) {
  co_return co_await on(parts_.control, request_here(what, id));
}
net::Task<Result<api::UpgradeView>> NodeUpgrade::status() {
  co_return co_await on(parts_.control, status_here());
}
net::Task<Result<api::UpdateList>> NodeUpgrade::list() {
  co_return co_await on(parts_.control, list_here(false));
}
net::Task<Result<api::UpdateList>> NodeUpgrade::refresh() {
  co_return co_await on(parts_.control, list_here(true));
}

net::Task<Result<api::UpgradeView>> NodeUpgrade::status_here() {
  api::UpgradeView view;
  if (moves_) {
    view.sessions_moved = moves_->moved;
    view.sessions_total = moves_->total;
    view.legs_left = moves_->left;
  }
  if (runner_ != nullptr) {
    view.progress = runner_->progress();
    if (view.progress.any) co_return view;
  }
  // A learner, and a writer that has not taken the plan up yet, show what is stored.
  const Result<std::optional<std::string>> record = co_await load_plan();
  if (!record) co_return fail(record);
  if (!record->has_value()) co_return view;
  const Result<upgrade::SitePlan::Stored> whole = upgrade::decode_site_plan(**record);
  if (!whole) co_return fail(whole);
  std::optional<upgrade::PlanState::Stored> stored = upgrade::flat(*whole);
  view.progress.any = true;
  view.progress.state = std::string(upgrade::api_state(*stored));
  if (stored->cursor < stored->plan.steps.size())
    view.progress.step = stored->plan.steps[stored->cursor].id;
  view.progress.stored = std::move(*stored);
  co_return view;
}

}  // namespace everspan::node
