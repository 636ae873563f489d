#include "node/site_view.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "access/core/grant.h"
#include "features/features.h"
#include "proto/level.pb.h"
#include "proto/records.pb.h"

namespace everspan::node {
namespace {

constexpr std::size_t kEntriesAtOnce = 512;
constexpr std::string_view kKinds[] = {"site", "endpoint", "session", "feature_level", "setting"};
constexpr std::string_view kBanner = "site.banner";

}  // namespace

Result<void> SiteView::load(store::LogReader& log, WallTime now) {
  // One consistent state for all kinds, so that follow() neither misses nor repeats an entry.
  SiteView fresh;
  const store::LogReader::Visit visit = [&fresh](std::string_view kind,
                                                 const store::Record& record) -> Result<void> {
    return fresh.put(kind, record.key, record.bytes, nullptr);
  };
  const Result<store::LogHead> head = log.visit_current(visit);
  if (!head) return fail(head);
  fresh.forget_old(now);
  const std::unique_lock lock(mutex_);
  site_ = std::move(fresh.site_);
  grant_key_id_ = std::move(fresh.grant_key_id_);
  feature_level_ = fresh.feature_level_;
  banner_ = std::move(fresh.banner_);
  endpoints_ = std::move(fresh.endpoints_);
  ended_ = std::move(fresh.ended_);
  applied_ = *head;
  return {};
}

// The entries in between are gone, or another history took their place: what changed is found by
// comparing.
Result<void> SiteView::load_again(store::LogReader& log, WallTime now,
                                  std::vector<EndedSession>& newly_ended) {
  const auto [endpoints, ended] = [this] {
    const std::shared_lock lock(mutex_);
    return std::pair(endpoints_, ended_);
  }();
  const Result<void> loaded = load(log, now);
  if (!loaded) return loaded;
  const std::unique_lock lock(mutex_);
  for (const auto& [id, facts] : ended_)
    if (!ended.contains(id)) newly_ended.push_back({id, facts.signed_tombstone});
  for (const auto& [id, facts] : endpoints)
    if (!endpoints_.contains(id)) removed_.push_back(id);
  return {};
}

Result<std::vector<EndedSession>> SiteView::follow(store::LogReader& log, WallTime now) {
  std::vector<EndedSession> newly_ended;
  for (;;) {
    const store::LogHead from = [this] {
      const std::shared_lock lock(mutex_);
      return applied_;
    }();
    Result<store::LogReader::Entries> batch = log.entries(from.revision, kEntriesAtOnce, from.hash);
    if (!batch && (batch.error().code == "compacted" || batch.error().code == "diverged")) {
      const Result<void> loaded = load_again(log, now, newly_ended);
      if (!loaded) return fail(loaded);
      continue;
    }
    if (!batch) return fail(batch);
    if (batch->entries.empty()) return newly_ended;
    const std::unique_lock lock(mutex_);
    for (const store::LogEntry& entry : batch->entries) {
      for (const store::Operation& operation : entry.operations) {
        if (operation.kind == "account" || operation.kind == "revocation") rights_changed_ = true;
        if (operation.action == store::Action::erase) {
          erase(operation.kind, operation.key);
          continue;
        }
        const Result<void> done = put(operation.kind, operation.key, operation.bytes, &newly_ended);
        if (!done) return fail(done);
      }
    }
    applied_ = batch->last;
  }
}

Result<void> SiteView::put(std::string_view kind, std::string_view key, std::string_view bytes,
                           std::vector<EndedSession>* newly_ended) {
  if (std::find(std::begin(kKinds), std::end(kKinds), kind) == std::end(kKinds)) return {};
  const std::string text(bytes);
  const auto bad = [&] {
    return fail("bad_record", "The record " + std::string(kind) + "/" + printable(key) +
                                  " in the log cannot be read");
  };
  if (kind == "site") {
    pb::Site site;
    if (!site.ParseFromString(text)) return bad();
    const Result<SiteId> id = SiteId::from_raw(site.site_id());
    if (!id) return fail(id);
    site_ = {*id,
             site.name(),
             site.ca_pem(),
             site.certificate_pem(),
             {site.certificate_names().begin(), site.certificate_names().end()},
             site.grant_public_key()};
    grant_key_id_ = access::grant_key_id(site_.grant_public_key);
  } else if (kind == "feature_level") {
    pb::FeatureLevelRecord level;
    if (!level.ParseFromString(text)) return bad();
    feature_level_ = std::max(feature_level_, level.level());
  } else if (kind == "setting") {
    if (key != kBanner) return {};
    pb::SettingValue banner;
    if (!banner.ParseFromString(text)) return bad();
    banner_ = banner.text();
  } else if (kind == "endpoint") {
    pb::Endpoint endpoint;
    if (!endpoint.ParseFromString(text)) return bad();
    const Result<EndpointId> id = EndpointId::from_raw(endpoint.id());
    if (!id) return fail(id);
    endpoints_[*id] = {endpoint.public_key(), endpoint.name()};
  } else {
    pb::SessionRecord session;
    if (!session.ParseFromString(text)) return bad();
    const Result<SessionId> id = SessionId::from_raw(session.id());
    if (!id) return fail(id);
    if (!session.has_tombstone()) return {};
    const pb::SignedTombstoneRecord& end = session.tombstone();
    const bool fresh =
        ended_.try_emplace(*id, EndedFacts{end.signed_tombstone(), end.ended_at_ms()}).second;
    if (fresh && newly_ended != nullptr) newly_ended->push_back({*id, end.signed_tombstone()});
  }
  return {};
}

void SiteView::erase(std::string_view kind, std::string_view key) {
  if (kind == "setting" && key == kBanner) banner_.clear();
  if (kind != "endpoint") return;
  const Result<EndpointId> id = EndpointId::from_hex(key);
  if (id && endpoints_.erase(*id) > 0) removed_.push_back(*id);
}

void SiteView::forget_old(WallTime now) {
  const std::int64_t before = now.unix_ms - std::chrono::milliseconds(kForgetEndedAfter).count();
  const std::unique_lock lock(mutex_);
  std::erase_if(ended_, [before](const auto& item) { return item.second.ended_at_ms < before; });
}

Revision SiteView::applied() const {
  const std::shared_lock lock(mutex_);
  return applied_.revision;
}

SiteView::SiteFacts SiteView::site() const {
  const std::shared_lock lock(mutex_);
  return site_;
}

std::uint32_t SiteView::feature_level() const {
  const std::shared_lock lock(mutex_);
  return feature_level_;
}

std::optional<std::string> SiteView::console_notice() const {
  const std::shared_lock lock(mutex_);
  if (!features::allowed({feature_level_}, features::Feature::console_notices)) return std::nullopt;
  return banner_;
}

std::optional<std::string> SiteView::grant_key(std::string_view key_id) const {
  const std::shared_lock lock(mutex_);
  if (key_id != grant_key_id_ || site_.grant_public_key.empty()) return std::nullopt;
  return site_.grant_public_key;
}

std::optional<std::string> SiteView::endpoint_key(const EndpointId& id) const {
  const std::shared_lock lock(mutex_);
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return std::nullopt;
  return found->second.key;
}

std::optional<std::string> SiteView::endpoint_name(const EndpointId& id) const {
  const std::shared_lock lock(mutex_);
  const auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return std::nullopt;
  return found->second.name;
}

std::optional<std::string> SiteView::ended(const SessionId& id) const {
  const std::shared_lock lock(mutex_);
  const auto found = ended_.find(id);
  if (found == ended_.end()) return std::nullopt;
  return found->second.signed_tombstone;
}

bool SiteView::take_rights_changed() {
  const std::unique_lock lock(mutex_);
  return std::exchange(rights_changed_, false);
}

std::vector<EndpointId> SiteView::take_removed_endpoints() {
  const std::unique_lock lock(mutex_);
  return std::exchange(removed_, {});
}

}  // namespace everspan::node
