// What people ask of an upgrade: each request runs once, whoever of the two processes is asked
// again. Its id is committed with the plan's record, so the log's table of outcomes knows it.
#include <algorithm>

#include "node/upgrade_service.h"
#include "site/identity.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

// A new writer takes the stored plan up within milliseconds of its first connection.
constexpr auto kRunnerWithin = 5s;
constexpr auto kLookEvery = 20ms;
// The same request, under way already: planning asks the depot, which may be slow.
constexpr auto kSameRequestWithin = 25s;

Error no_runner() {
  return {"not_primary", "Another process of this node is taking over", "Nothing was changed",
          "Try again in a moment"};
}

// Names a request as under way for as long as it lives.
class UnderWay {
 public:
  UnderWay(std::set<RequestId>& all, const RequestId& id) : all_(all), id_(id) { all_.insert(id); }
  ~UnderWay() { all_.erase(id_); }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

 private:
  std::set<RequestId>& all_;
  RequestId id_;
};

Result<void> used_for_this(const upgrade::Plan& made, const upgrade::ApplyRequest& asked) {
  const bool same_target = asked.target.version.empty() || asked.target.version == made.to.version;
  if (same_target && made.policy.soak == asked.policy.soak &&
      made.policy.auto_finalize == asked.policy.auto_finalize)
    return {};
  return fail("conflict", "This Idempotency-Key was used for another request",
              "Nothing was changed", "Use a new key for a new request");
}

}  // namespace

// The first outcome of this request, if it has run. One that is under way is waited for.
net::Task<Result<std::optional<store::Outcome>>> NodeUpgrade::first_outcome(RequestId id) {
  const Instant deadline = net::now() + kSameRequestWithin;
  while (under_way_.contains(id)) {
    const bool waited = co_await net::sleep_for(kLookEvery);
    if (!waited || net::now() >= deadline)
      co_return fail("unavailable", "The same request is still under way", "It goes on",
                     "Ask again with the same Idempotency-Key: it runs once");
  }
  co_return parts_.log.outcome(id);
}

// Waits for the runner of a process that has just become the writer. One that has given the right
// away has none: the client's next connection reaches the other process.
net::Task<Result<void>> NodeUpgrade::runner_drives() {
  const Instant deadline = net::now() + kRunnerWithin;
  while (runner_ == nullptr || !runner_->running()) {
    const bool hopeless = !parts_.serving() || net::now() >= deadline;
    if (hopeless) co_return Result<void>(std::unexpected(no_runner()));
    const bool waited = co_await net::sleep_for(kLookEvery);
    if (!waited) co_return Result<void>(std::unexpected(no_runner()));
  }
  co_return Result<void>();
}

net::Task<Result<upgrade::Plan>> NodeUpgrade::plan_here(upgrade::ApplyRequest request) {
  const Result<void> drives = co_await runner_drives();
  if (!drives) co_return fail(drives);
  const Result<upgrade::SitePlan::Stored> made = co_await runner_->dry_run(std::move(request));
  if (!made) co_return fail(made);
  co_return upgrade::flat(*made).plan;
}

net::Task<Result<api::UpgradeAsked>> NodeUpgrade::apply_here(upgrade::ApplyRequest request) {
  const std::string derived =
      site::derive_secret(parts_.request_key, "everspan plan 1", request.request);
  std::copy_n(derived.begin(), request.plan.bytes.size(), request.plan.bytes.begin());
  const Result<std::optional<store::Outcome>> before = co_await first_outcome(request.request);
  if (!before) co_return fail(before);
  if (!*before) co_return co_await apply_once(std::move(request));
  const Revision revision = (*before)->revision;
  const auto entry = parts_.log.entries(Revision{revision.value - 1}, 1);
  if (entry && !entry->entries.empty() && entry->entries.front().revision == revision)
    for (const store::Operation& operation : entry->entries.front().operations) {
      if (operation.kind != "plan") continue;
      const auto made = upgrade::decode_site_plan(operation.bytes);
      if (!made) continue;
      upgrade::Plan plan = upgrade::flat(*made).plan;
      if (made->parts.size() > 1) plan.policy.auto_finalize = made->auto_finalize;
      const Result<void> same = used_for_this(plan, request);
      if (!same) co_return fail(same);
    }
  co_return api::UpgradeAsked{request.plan, true};
}

net::Task<Result<api::UpgradeAsked>> NodeUpgrade::apply_once(upgrade::ApplyRequest request) {
  const UnderWay mark(under_way_, request.request);
  const Result<void> drives = co_await runner_drives();
  if (!drives) co_return fail(drives);
  const Result<PlanId> id = co_await runner_->apply(std::move(request));
  if (!id) co_return fail(id);
  moves_.reset();  // Those of the plan before.
  co_return api::UpgradeAsked{*id};
}

net::Task<Result<api::UpgradeAsked>> NodeUpgrade::request_here(upgrade::Request what,
                                                               RequestId id) {
  const Result<std::optional<store::Outcome>> before = co_await first_outcome(id);
  if (!before) co_return fail(before);
  if (*before) co_return api::UpgradeAsked{{}, true};
  const Result<void> asked = co_await request_once(what, id);
  if (!asked) co_return fail(asked);
  co_return api::UpgradeAsked{};
}

net::Task<Result<void>> NodeUpgrade::request_once(upgrade::Request what, RequestId id) {
  const UnderWay mark(under_way_, id);
  const Result<void> drives = co_await runner_drives();
  if (!drives) co_return drives;
  co_return co_await runner_->request(what, id);
}

}  // namespace everspan::node
