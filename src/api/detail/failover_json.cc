#include "api/detail/failover_json.h"

#include <algorithm>

namespace everspan::api {
namespace {

json::value or_null(const auto& value) {
  if (!value) return nullptr;
  return json::value(*value);
}

json::value time_or_null(const std::optional<WallTime>& time) {
  return time ? time_json(*time) : json::value(nullptr);
}

json::array stores_json(const FailoverStatus& status) {
  json::array out;
  for (const FailoverStatus::Store& store : status.stores) {
    const bool in_sync = std::ranges::find(status.in_sync, store.node) != status.in_sync.end();
    json::object row{{"node", store.node.hex()}, {"durable", nullptr}, {"in_sync", in_sync}};
    if (store.durable) row["durable"] = store.durable->value;
    out.push_back(std::move(row));
  }
  return out;
}

json::array history_json(const std::vector<FailoverStatus::Change>& history) {
  json::array out;
  for (const FailoverStatus::Change& change : history)
    out.push_back(json::object{{"at", time_json(change.at)},
                               {"role", change.role},
                               {"epoch", change.epoch.value},
                               {"why", change.why}});
  return out;
}

}  // namespace

json::array nodes_json(const std::vector<NodeAt>& nodes) {
  json::array out;
  for (const NodeAt& each : nodes)
    out.push_back(json::object{
        {"id", each.node.hex()}, {"address", each.address.text()}, {"role", each.role}});
  return out;
}

json::value peer_json(const std::optional<FailoverStatus::Peer>& peer, WallTime now) {
  if (!peer) return nullptr;
  json::value ago = nullptr;
  if (peer->last_heard) ago = std::max<std::int64_t>(now.unix_ms - peer->last_heard->unix_ms, 0);
  return json::object{{"id", peer->node.hex()},
                      {"address", peer->address},
                      {"role", peer->role},
                      {"release", peer->release},
                      {"connected", peer->connected},
                      {"why_not", peer->why_not},
                      {"last_heard", time_or_null(peer->last_heard)},
                      {"last_heard_ms_ago", std::move(ago)},
                      {"clock_ahead_ms", or_null(peer->clock_ahead_ms)}};
}

json::object failover_json(const FailoverStatus& status, const std::vector<NodeAt>& nodes,
                           WallTime now) {
  json::array in_sync;
  for (const NodeId& each : status.in_sync) in_sync.emplace_back(each.hex());
  return {{"node", {{"id", status.node.hex()}, {"address", status.address}}},
          {"role", status.role},
          {"why", status.why},
          {"lineage", status.lineage.hex()},
          {"epoch", status.epoch.value},
          {"revision", status.head.value},
          {"committed_revision", status.committed.value},
          {"in_sync", std::move(in_sync)},
          {"stores", stores_json(status)},
          {"peer", peer_json(status.peer, now)},
          {"shipping", status.shipping},
          {"shipping_why", status.shipping_why},
          {"lag",
           {{"records", or_null(status.lag_records)},
            {"bytes", or_null(status.lag_bytes)},
            {"ms", or_null(status.lag_ms)}}},
          {"last_in_sync", time_or_null(status.last_in_sync)},
          {"journal_missing_bytes", or_null(status.journal_missing)},
          {"blobs_missing_bytes", or_null(status.blobs_missing)},
          {"history", history_json(status.history)},
          {"nodes", nodes_json(nodes)}};
}

json::array checks_json(const std::vector<EstablishReport::Check>& checks) {
  json::array out;
  for (const EstablishReport::Check& check : checks)
    out.push_back(json::object{{"name", check.name},
                               {"ok", check.ok},
                               {"warning", check.warning},
                               {"detail", check.detail}});
  return out;
}

json::object error_json(const Error& error) {
  return {
      {"code", error.code}, {"message", error.message}, {"kept", error.kept}, {"next", error.next}};
}

json::object orphan_json(const OrphanRow& orphan) {
  return {{"name", orphan.name},
          {"bytes", orphan.bytes},
          {"from", orphan.from.value},
          {"through", orphan.through.value},
          {"at", time_json(orphan.at)}};
}

json::array orphan_entries_json(const std::vector<OrphanEntry>& entries) {
  json::array out;
  for (const OrphanEntry& entry : entries) {
    json::array changes;
    for (const OrphanEntry::Change& change : entry.changes)
      changes.push_back(json::object{{"verb", change.verb},
                                     {"kind", change.kind},
                                     {"key", change.key},
                                     {"bytes", change.bytes}});
    out.push_back(json::object{{"revision", entry.revision.value},
                               {"epoch", entry.epoch.value},
                               {"at", time_json(entry.at)},
                               {"changes", std::move(changes)}});
  }
  return out;
}

}  // namespace everspan::api
