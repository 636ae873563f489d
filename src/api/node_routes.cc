// This node: alive, ready, about, status, Connected Clients, verify.
#include <algorithm>

#include "api/detail/failover_json.h"
#include "api/detail/route.h"
#include "common/version.h"
#include "proto/frame.h"
#include "upgrade/runner.h"

namespace everspan::api {
namespace {

net::Task<Result<Answer>> healthz(State&, Call) {
  Answer answer;
  answer.body = {{"alive", true}, {"version", std::string(program_version())}};
  co_return answer;
}

net::Task<Result<Answer>> readyz(State& state, Call) {
  Answer answer;
  const auto ready = state.services.node.ready();
  answer.body = {{"ready", ready.has_value()}};
  if (!ready) {
    answer.status = 503;
    answer.body["why"] = ready.error().message;
    co_return answer;
  }
  const auto elsewhere = state.services.failover.primary_elsewhere();
  if (!elsewhere) co_return answer;
  answer.status = 503;
  answer.body = {{"ready", false},
                 {"why", "This node does not take writes"},
                 {"role", elsewhere->role},
                 {"primary", nullptr}};
  if (elsewhere->address) answer.body["primary"] = elsewhere->address->text();
  co_return answer;
}

net::Task<Result<Answer>> about(State& state, Call) {
  const auto node = co_await state.services.node.status();
  if (!node) co_return fail(node);
  const site::SiteIdentity& site = state.services.site.identity;
  Answer answer;
  answer.body = {{"product", "Everspan"},
                 {"version", std::string(program_version())},
                 {"release_digest", node->release_digest},
                 {"build", "clang " __clang_version__},
                 {"base_version", node->base_version},
                 {"site_name", site.name},
                 {"site_id", site.id.hex()},
                 {"wire", {{"min", wire::kWireMin}, {"max", wire::kWireMax}}},
                 {"feature_level", node->feature_level},
                 {"node_id", state.services.site.node.hex()}};
  const std::vector<NodeAt> nodes = state.services.failover.nodes();
  answer.body["node_role"] = nodes.empty() ? std::string() : nodes.front().role;
  answer.body["nodes"] = nodes_json(nodes);
  co_return answer;
}

json::array slots_json(const std::vector<SlotRow>& slots) {
  json::array out;
  for (const SlotRow& slot : slots)
    out.push_back(json::object{{"role", slot.role},
                               {"version", slot.version},
                               {"digest", slot.digest},
                               {"pid", slot.pid},
                               {"ready", slot.ready}});
  return out;
}

json::value upgrade_summary(const UpgradeView& view) {
  if (!view.progress.any) return nullptr;
  const upgrade::Plan& plan = view.progress.stored.plan;
  return json::object{{"plan", plan.id.hex()},
                      {"state", view.progress.state},
                      {"step", view.progress.step},
                      {"from", plan.from.version},
                      {"to", plan.to.version}};
}

json::object status_json(State& state, const NodeStatus& node, const store::LogMeta& meta) {
  json::array in_sync;
  for (const NodeId& each : node.in_sync) in_sync.emplace_back(each.hex());
  const site::SiteIdentity& site = state.services.site.identity;
  return {{"site", site.name},
          {"site_id", site.id.hex()},
          {"node",
           {{"id", state.services.site.node.hex()},
            {"address", node.address},
            {"version", std::string(program_version())},
            {"digest", node.release_digest},
            {"uptime_s", node.uptime_s},
            {"single_user", node.single_user}}},
          {"role", node.role},
          {"epoch", meta.epoch.value},
          {"lineage", meta.lineage.hex()},
          {"generation", meta.generation.value},
          {"revision", meta.head.revision.value},
          {"committed_revision", meta.committed.value},
          {"in_sync", std::move(in_sync)},
          {"feature_level", node.feature_level},
          {"slots", slots_json(node.slots)}};
}

net::Task<Result<Answer>> status(State& state, Call) {
  const auto node = co_await state.services.node.status();
  if (!node) co_return fail(node);
  const auto meta = state.services.site.log.meta();
  if (!meta) co_return fail(meta);
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  const auto upgrade = co_await state.services.upgrade.status();
  // A node that does not run plans may not know: unknown is null, and the rest is true.
  if (!upgrade && upgrade.error().code != "not_primary") co_return fail(upgrade);
  const auto pair = co_await state.services.failover.failover_status();
  if (!pair) co_return fail(pair);
  Answer answer;
  answer.body = status_json(state, *node, *meta);
  answer.body["sessions"] = live->sessions.size();
  answer.body["agents"] = live->agents.size();
  answer.body["upgrade"] = upgrade ? upgrade_summary(*upgrade) : json::value(nullptr);
  answer.body["node_role"] = pair->role;
  answer.body["peer"] = peer_json(pair->peer, state.services.site.now());
  answer.body["peer_in_sync"] = nullptr;
  if (pair->peer)
    answer.body["peer_in_sync"] =
        std::ranges::find(pair->in_sync, pair->peer->node) != pair->in_sync.end();
  answer.body["nodes"] = nodes_json(state.services.failover.nodes());
  co_return answer;
}

net::Task<Result<Answer>> clients(State& state, Call) {
  const auto live = co_await state.services.live.snapshot();
  if (!live) co_return fail(live);
  json::array rows;
  for (const ClientRow& row : live->clients)
    rows.push_back(json::object{{"kind", row.kind},
                                {"name", row.name},
                                {"person", row.person},
                                {"endpoint", row.endpoint},
                                {"session", row.session},
                                {"address", row.address},
                                {"release", row.release},
                                {"node", row.node},
                                {"since", time_json(row.since)},
                                {"generation", row.generation}});
  Answer answer;
  answer.body = {{"clients", std::move(rows)}};
  co_return answer;
}

net::Task<Result<Answer>> verify(State& state, Call) {
  const auto checks = co_await state.services.live.verify();
  if (!checks) co_return fail(checks);
  bool ok = !checks->empty();
  json::array rows;
  for (const LiveService::Check& check : *checks) {
    ok = ok && check.ok;
    rows.push_back(json::object{{"name", check.name}, {"ok", check.ok}, {"detail", check.detail}});
  }
  Answer answer;
  answer.body = {{"ok", ok}, {"checks", std::move(rows)}};
  answer.subject = state.services.site.node.hex();
  answer.detail = {{"ok", ok}};
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/healthz", Needs::nothing, "", healthz},
    {"GET", "/readyz", Needs::nothing, "", readyz},
    {"GET", "/api/v1/about", Needs::any_area, "", about},
    {"GET", "/api/v1/status", Needs::any_area, "", status},
    {"GET", "/api/v1/clients", Needs::site, "", clients},
    {"POST", "/api/v1/verify", Needs::any_area, "", verify, "node.verified"},
};

}  // namespace

std::span<const Route> node_routes() {
  return kRoutes;
}

}  // namespace everspan::api
