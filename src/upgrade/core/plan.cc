#include "upgrade/core/plan.h"

#include <algorithm>
#include <deque>
#include <map>

#include "common/bytes.h"

namespace everspan::upgrade {
namespace {

using Candidate = SiteSnapshot::Candidate;

struct KindRow {
  StepKind kind;
  std::string_view word;
  std::string_view title;
  std::string_view way_back;
  bool may_rest_after;
};
constexpr std::string_view kNothing = "nothing to undo";
constexpr std::string_view kStop = "the candidate is stopped; the running release was never left";
constexpr std::string_view kBack =
    "the writer moves back to the old release, which still runs beside";
constexpr std::string_view kNone = "none from here in this version";
constexpr KindRow kKinds[] = {
    {StepKind::resolve, "resolve", "Refresh the signed metadata and find the release", kNothing,
     true},
    {StepKind::fetch, "fetch", "Fetch the package; base verifies and unpacks it", kNothing, true},
    {StepKind::preflight, "preflight", "Check disk, self-test and migration on a copy", kNothing,
     true},
    {StepKind::backup, "backup", "Back up the log", kNothing, true},
    {StepKind::candidate, "candidate", "Start the new release beside the old one", kStop, false},
    {StepKind::probe, "probe", "Run a probe session through the new release", kStop, true},
    {StepKind::switch_over, "switch", "Move the writer and new connections to the new release",
     kBack, false},
    {StepKind::soak, "soak", "Watch its health", kBack, true},
    {StepKind::pin, "pin", "Tell base that the new release stays", kNone, false},
    {StepKind::finalise, "finalise", "Raise the feature level", kNone, false},
    {StepKind::hand_over, "handover", "Hand the primary's role over to the upgraded node",
     "the role is handed back", false},
    {StepKind::unknown, "unknown", "A step that this release does not know", kNone, false},
};
const KindRow& row(StepKind kind) {
  return *std::ranges::find_if(kKinds, [&](const KindRow& r) { return r.kind == kind; });
}

bool can_follow(const Candidate& to, const Version& from) {
  return from < to.manifest.version && to.manifest.follows(from);
}

// First release of the shortest way from `from` to `to`, over the offered ones.
const Candidate* first_hop(const std::vector<const Candidate*>& offered, const Version& from,
                           const Candidate& to) {
  std::map<std::string, const Candidate*> first;
  std::deque<const Candidate*> edge;
  for (const Candidate* c : offered)
    if (can_follow(*c, from)) {
      first.emplace(c->manifest.version.text(), c);
      edge.push_back(c);
    }
  while (!edge.empty()) {
    const Candidate* at = edge.front();
    edge.pop_front();
    const Candidate* began = first.at(at->manifest.version.text());
    if (at == &to) return began;
    for (const Candidate* c : offered)
      if (can_follow(*c, at->manifest.version) &&
          first.emplace(c->manifest.version.text(), began).second)
        edge.push_back(c);
  }
  return nullptr;
}

Result<void> check_target(const SiteSnapshot& site, const std::vector<const Candidate*>& offered,
                          const Candidate& to, bool no_way_back_accepted) {
  const update::Manifest& m = to.manifest;
  const std::string name = "Release " + m.version.text();
  if (m.platform != site.platform)
    return fail("wrong_platform",
                name + " is for " + m.platform + ", this site runs on " + site.platform);
  if (to.digest == site.digest || m.version == site.version)
    return fail("already_installed", name + " is what runs already");
  if (m.version < site.version)
    return fail("older_release", name + " is older than the running " + site.version.text(), "",
                "Going back is `everspan upgrade rollback`, while its plan has not been finalised");
  if (m.version < site.security_floor)
    return fail("below_floor", name + " is below the security floor " + site.security_floor.text());
  if (!m.needs_base.contains(site.base_version))
    return fail("needs_base",
                name + " needs base software " + m.needs_base.text() + ", installed is " +
                    site.base_version.text(),
                "", "Install the base software first");
  if (!m.follows(site.version)) {
    const Candidate* hop = first_hop(offered, site.version, to);
    if (hop == nullptr)
      return fail("needs_step", name + " cannot follow " + site.version.text() +
                                    ", and no offered release leads there");
    return fail("needs_step", name + " cannot follow " + site.version.text(), "",
                "Install " + hop->manifest.version.text() + " first");
  }
  if (m.log_format > site.log_format)
    return fail("needs_base",
                name + " needs a newer log format, which comes with the base software");
  if (site.version < m.security_floor && !no_way_back_accepted)
    return fail(
        "no_way_back",
        name + " raises the security floor above the running release: there would be no way back",
        "", "Repeat with the confirmation if that is meant");
  return {};
}

Result<const Candidate*> choose(const SiteSnapshot& site, const Target& target) {
  std::vector<const Candidate*> offered;
  for (const Candidate& c : site.releases)
    if (c.manifest.kind == "site" && c.manifest.platform == site.platform) offered.push_back(&c);
  if (!target.version.empty()) {
    const auto wanted = Version::parse(target.version);
    if (!wanted)
      return fail("unknown_release", "'" + printable(target.version, 40) + "' is no version");
    const Candidate* foreign = nullptr;
    for (const Candidate& c : site.releases) {
      if (c.manifest.kind != "site" || c.manifest.version != *wanted) continue;
      foreign = &c;
      if (c.manifest.platform == site.platform) break;
    }
    if (foreign == nullptr)
      return fail("unknown_release", "The update source offers no release " + wanted->text(), "",
                  "See `everspan updates list`");
    if (const auto good = check_target(site, offered, *foreign, target.no_way_back_accepted); !good)
      return fail(good);
    return foreign;
  }
  const Candidate* newest = nullptr;
  Result<void> why =
      fail("no_release", "The update source offers nothing newer than " + site.version.text());
  for (const Candidate* c : offered) {
    if (c->manifest.version <= site.version) continue;
    const auto good = check_target(site, offered, *c, target.no_way_back_accepted);
    if (!good) {
      why = good;
    } else if (newest == nullptr || newest->manifest.version < c->manifest.version) {
      newest = c;
    }
  }
  if (newest == nullptr) return fail(why);
  return newest;
}

}  // namespace

Result<Plan> plan(const SiteSnapshot& site, const Policy& policy, const Target& target, PlanId id) {
  if (site.plan_under_way)
    return fail("busy", "Another upgrade is under way", "", "See `everspan upgrade status`");
  const auto chosen = choose(site, target);
  if (!chosen) return fail(chosen);
  const Candidate& to = **chosen;
  Plan out;
  out.id = id;
  out.lineage = site.lineage;
  out.node = site.node;
  out.from = {site.version.text(), site.digest, "", 0, site.feature_level};
  out.to = {to.manifest.version.text(), to.digest, to.target_name, to.bytes,
            to.manifest.feature_level};
  out.policy = policy;
  for (const KindRow& r : kKinds) {
    if (r.kind == StepKind::unknown || r.kind == StepKind::hand_over) continue;
    Step step;
    step.id = std::string(r.word);
    step.kind = r.kind;
    step.kind_word = std::string(r.word);
    out.steps.push_back(std::move(step));
  }
  return out;
}

std::string_view word(StepKind kind) {
  return row(kind).word;
}
std::string_view title(StepKind kind) {
  return row(kind).title;
}
std::string_view way_back(StepKind kind) {
  return row(kind).way_back;
}
bool may_rest_after(StepKind kind) {
  return row(kind).may_rest_after;
}

std::string_view word(StepState state) {
  switch (state) {
    case StepState::waiting:
      return "waiting";
    case StepState::intent:
      return "running";
    case StepState::done:
      return "done";
    case StepState::failed:
      return "failed";
    case StepState::undone:
      return "undone";
  }
  return "?";
}
std::string_view word(Status status) {
  switch (status) {
    case Status::running:
      return "running";
    case Status::paused:
      return "paused";
    case Status::going_back:
      return "going_back";
    case Status::upgraded:
      return "upgraded";
    case Status::rolled_back:
      return "rolled_back";
    case Status::parked:
      return "parked";
    case Status::failed:
      return "failed";
  }
  return "?";
}

}  // namespace everspan::upgrade
