// What each action of a plan does on this node.
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/version.h"
#include "node/upgrade_service.h"
#include "proto/base.pb.h"
#include "proto/level.pb.h"
#include "update/client.h"
#include "update/http_fetcher.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kStageWithin = 120s;  // Unpacking and hashing a large package on a slow disk.
constexpr auto kStartWithin = 60s;
constexpr auto kSwitchWithin = 60s;
constexpr auto kSelfTestWithin = 120s;
constexpr auto kMovesWithin = 20s;  // Below the plan's time for `pin`, with base's answer.
constexpr std::uint64_t kDiskReserve = 64ULL << 20;

std::unique_ptr<pb::BaseRequest> base_request(const upgrade::EffectCall& call) {
  auto request = std::make_unique<pb::BaseRequest>();
  request->set_key(call.key);
  return request;
}

Result<void> need_disk(const std::string& folder, std::uint64_t bytes) {
  struct statvfs disk{};
  if (statvfs(folder.c_str(), &disk) != 0) return fail_errno("io", "statvfs " + folder, errno);
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (free >= bytes) return {};
  return fail("disk_full",
              "The upgrade needs " + std::to_string(bytes >> 20) + " MiB of disk, and " +
                  std::to_string(free >> 20) + " MiB are free",
              "Nothing was changed", "Make room below the data folder and apply again");
}

std::uint64_t file_bytes(const std::string& path) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

struct Metadata {
  std::string dir;
  std::string root;  // The first trusted root.json.
  NodeUpgrade::Source source;
  std::shared_ptr<std::mutex> mutex;
};

Result<void> begin_trust(const Metadata& metadata) {
  if (access((metadata.dir + "/root.json").c_str(), R_OK) == 0) return {};
  if (metadata.root.empty())
    return fail("no_trust", "This appliance trusts no update server yet", "Nothing was changed",
                "Start everspan-base once with --trusted-root FILE");
  return update::UpdateClient::init(metadata.dir, metadata.root);
}

Result<std::vector<update::AvailableRelease>> read_releases(const Metadata& metadata,
                                                            bool refresh) {
  const std::lock_guard lock(*metadata.mutex);
  const Result<void> trusted = begin_trust(metadata);
  if (!trusted) return fail(trusted);
  update::UpdateClient client(metadata.dir);
  if (refresh) {
    update::HttpFetcher fetcher({.ca_pem = metadata.source.ca_pem});
    const Result<void> fresh = client.refresh(fetcher, metadata.source.url, net::wall_now());
    if (!fresh) return fail(fresh);
  } else {
    const Result<void> loaded = client.load(net::wall_now());
    if (!loaded) {
      if (loaded.error().code == "missing_metadata") return std::vector<update::AvailableRelease>{};
      return fail(loaded);
    }
  }
  return client.releases();
}

Result<std::string> download(const Metadata& metadata, const std::string& target,
                             const std::string& out_dir) {
  const std::lock_guard lock(*metadata.mutex);
  update::UpdateClient client(metadata.dir);
  const Result<void> loaded = client.load(net::wall_now());
  if (!loaded) return fail(loaded);
  update::HttpFetcher fetcher({.ca_pem = metadata.source.ca_pem});
  return client.download(fetcher, metadata.source.url + "/targets", target, out_dir);
}

// Over a connection of its own: a reader's calls take turns, and those of the control thread must
// not wait for a copy that yields to everything else.
Result<void> copy_log(const std::string& log, const std::string& to) {
  const auto reader = store::LogReader::open(log);
  if (!reader) return fail(reader);
  return (*reader)->backup_to(to);
}

}  // namespace

net::Task<Result<std::vector<upgrade::SiteSnapshot::Candidate>>> NodeUpgrade::releases(
    bool refresh) {
  const Source source = source_now();
  if (refresh && source.url.empty())
    co_return fail("no_source", "No update server is set", "Nothing was changed",
                   "Set one: everspan updates source URL");
  const Metadata metadata{parts_.paths.metadata(), parts_.trusted_root, source, metadata_};
  const std::function<Result<std::vector<update::AvailableRelease>>()> work = [metadata, refresh] {
    return read_releases(metadata, refresh);
  };
  Result<std::vector<update::AvailableRelease>> found = co_await parts_.pool.run(work);
  if (!found) co_return fail(found);
  if (refresh) checked_at_ = net::wall_now();
  std::vector<upgrade::SiteSnapshot::Candidate> out;
  for (update::AvailableRelease& release : *found) {
    if (release.manifest.kind != "site") continue;
    out.push_back(
        {release.target_name, release.digest, release.bytes, std::move(release.manifest)});
  }
  co_return out;
}

NodeUpgrade::Source NodeUpgrade::source_now() const {
  Source own = parts_.source();
  return own.url.empty() ? given_source_ : own;
}

// What this node's base says, without the releases that could follow.
net::Task<Result<upgrade::SiteSnapshot>> NodeUpgrade::snapshot_of_base() {
  upgrade::SiteSnapshot site;
  Result<std::unique_ptr<pb::BaseReply>> base = co_await base_status();
  if (!base) co_return fail(base);
  const pb::BaseStatus& status = (*base)->status();
  for (const pb::Slot& slot : status.slots())
    if (slot.role() == pb::SLOT_ACTIVE) site.digest = slot.digest();
  const Result<Version> version = Version::parse(program_version());
  if (!version) co_return fail(version);
  site.version = *version;
  const Result<Version> base_version = Version::parse(status.base_version());
  if (!base_version) co_return fail(base_version);
  site.base_version = *base_version;
  if (!status.security_floor().empty()) {
    const Result<Version> floor = Version::parse(status.security_floor());
    if (!floor) co_return fail(floor);
    site.security_floor = *floor;
  }
  const Result<store::LogMeta> meta = parts_.log.meta();
  if (!meta) co_return fail(meta);
  site.lineage = meta->lineage;
  site.node = parts_.node;
  site.platform = update::host_platform();
  site.feature_level = parts_.view.feature_level();
  co_return site;
}

net::Task<Result<upgrade::SiteSnapshot>> NodeUpgrade::site_snapshot(bool refresh) {
  Result<upgrade::SiteSnapshot> site = co_await snapshot_of_base();
  if (!site) co_return fail(site);
  Result<std::vector<upgrade::SiteSnapshot::Candidate>> known = co_await releases(refresh);
  if (!known) co_return fail(known);
  site->releases = std::move(*known);
  co_return site;
}

net::Task<Result<api::UpdateList>> NodeUpgrade::list_here(bool refresh) {
  Result<upgrade::SiteSnapshot> site = co_await site_snapshot(refresh);
  if (!site) co_return fail(site);
  api::UpdateList out;
  out.source = parts_.source().url;
  out.checked_at = checked_at_;
  for (const upgrade::SiteSnapshot::Candidate& release : site->releases) {
    api::UpdateRow row;
    row.version = release.manifest.version.text();
    row.digest = release.digest;
    row.bytes = release.bytes;
    row.notes = release.manifest.notes;
    row.installed = release.digest == site->digest || release.manifest.version == site->version;
    const Result<upgrade::Plan> planned =
        upgrade::plan(*site, upgrade::Policy{}, upgrade::Target{row.version}, PlanId{});
    row.installable = planned.has_value();
    if (!planned) row.why_not = planned.error().text();
    out.releases.push_back(std::move(row));
  }
  co_return out;
}

net::Task<Result<void>> NodeUpgrade::perform_here(upgrade::Action action,
                                                  upgrade::EffectCall call) {
  const std::string name = "plan." + std::string(upgrade::word(action));
  failpoint(name + ".before");
  Result<void> done;
  switch (action) {
    case upgrade::Action::resolve:
      done = co_await resolve(std::move(call));
      break;
    case upgrade::Action::fetch:
      done = co_await fetch(std::move(call));
      break;
    case upgrade::Action::preflight:
      done = co_await preflight(std::move(call));
      break;
    case upgrade::Action::backup:
      done = co_await back_up(std::move(call));
      break;
    case upgrade::Action::raise_level:
      done = co_await raise_level(std::move(call));
      break;
    case upgrade::Action::probe: {
      const Result<std::string> probed = co_await parts_.probe_candidate();
      if (!probed) {
        done = fail(probed);
      } else if (*probed != call.to.version) {
        done = fail("probe_failed",
                    "The candidate says that it is " + *probed + ", not " + call.to.version);
      }
      break;
    }
    case upgrade::Action::start_candidate: {
      auto request = base_request(call);
      request->mutable_start_candidate()->set_digest(call.to.digest);
      done = co_await ask_base(std::move(request), kStartWithin);
      break;
    }
    case upgrade::Action::stop_candidate: {
      auto request = base_request(call);
      request->mutable_stop_candidate()->set_why("plan " + call.plan.hex() + " goes back");
      done = co_await ask_base(std::move(request), kStartWithin);
      break;
    }
    case upgrade::Action::switch_over: {
      auto request = base_request(call);
      request->mutable_switch_()->set_digest(call.to.digest);
      request->mutable_switch_()->set_silence_ms(
          static_cast<std::uint32_t>(call.policy.silence.count()));
      done = co_await ask_base(std::move(request), kSwitchWithin);
      break;
    }
    case upgrade::Action::good: {
      co_await legs_have_moved();
      auto request = base_request(call);
      request->mutable_good()->set_digest(call.to.digest);
      done = co_await ask_base(std::move(request), kStartWithin);
      break;
    }
    case upgrade::Action::back: {
      auto request = base_request(call);
      request->mutable_back()->set_why("plan " + call.plan.hex() + " goes back");
      done = co_await ask_base(std::move(request), kSwitchWithin);
      break;
    }
  }
  failpoint(name + ".after");
  co_return done;
}

net::Task<Result<void>> NodeUpgrade::resolve(upgrade::EffectCall call) {
  Result<std::vector<upgrade::SiteSnapshot::Candidate>> known = co_await releases(true);
  if (!known) co_return fail(known);
  for (const upgrade::SiteSnapshot::Candidate& release : *known)
    if (release.digest == call.to.digest) co_return Result<void>();
  co_return fail("release_gone",
                 "The update server does not offer release " + call.to.version +
                     " any more, or offers another one by that number",
                 "Nothing was changed", "Plan anew: everspan upgrade plan");
}

net::Task<Result<void>> NodeUpgrade::fetch(upgrade::EffectCall call) {
  const Metadata metadata{parts_.paths.metadata(), parts_.trusted_root, source_now(), metadata_};
  const std::string out_dir = parts_.paths.incoming();
  const std::function<Result<std::string>()> work = [metadata, target = call.to.target_name,
                                                     out_dir] {
    return download(metadata, target, out_dir);
  };
  const Result<std::string> path = co_await parts_.pool.run(work);
  if (!path) co_return fail(path);
  auto request = base_request(call);
  pb::Stage& stage = *request->mutable_stage();
  stage.set_version(call.to.version);
  stage.set_package_path(*path);
  stage.set_metadata_dir(metadata.dir);
  stage.set_target_name(call.to.target_name);
  Result<std::unique_ptr<pb::BaseReply>> reply =
      co_await parts_.base.request(std::move(request), net::now() + kStageWithin);
  if (!reply) co_return fail(reply);
  if (!(*reply)->ok()) co_return fail((*reply)->code(), (*reply)->message(), {}, (*reply)->next());
  if ((*reply)->digest() != call.to.digest)
    co_return fail("bad_hash", "Base staged another release than the plan names");
  co_return Result<void>();
}

net::Task<Result<void>> NodeUpgrade::preflight(upgrade::EffectCall call) {
  const std::uint64_t log_bytes = file_bytes(parts_.paths.log());
  // The unpacked release, the rehearsal's and the back-up's copies of the log, and its read model.
  const Result<void> room =
      need_disk(parts_.paths.root, call.to.bytes * 4 + log_bytes * 4 + kDiskReserve);
  if (!room) co_return fail(room);
  const std::string copy = parts_.paths.incoming() + "/rehearsal-" + call.plan.hex() + ".db";
  const std::string log = parts_.paths.log();
  const std::function<Result<void>()> work = [log, copy]() -> Result<void> {
    std::filesystem::remove(copy);
    return copy_log(log, copy);
  };
  const Result<void> copied = co_await parts_.pool.run(work);
  if (!copied) co_return fail(copied);
  auto request = base_request(call);
  pb::SelfTest& test = *request->mutable_self_test();
  test.set_digest(call.to.digest);
  test.set_log_copy(copy);
  test.set_timeout_ms(60'000);
  const Result<void> tested = co_await ask_base(std::move(request), kSelfTestWithin);
  std::error_code ignored;  // A rehearsal's leftovers are removed by the next one, too.
  for (const char* suffix : {"", "-wal", "-shm", ".read", ".read-wal", ".read-shm"})
    std::filesystem::remove(copy + suffix, ignored);
  co_return tested;
}

net::Task<Result<void>> NodeUpgrade::back_up(upgrade::EffectCall call) {
  const std::string folder = parts_.paths.backups();
  const std::string path = folder + "/" + call.plan.hex() + ".db";
  const std::string log = parts_.paths.log();
  const std::function<Result<void>()> work = [log, folder, path]() -> Result<void> {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return fail("io", "Cannot make " + folder + ": " + error.message());
    chmod(folder.c_str(), 0700);
    std::filesystem::remove(path, error);
    const Result<void> copied = copy_log(log, path);
    if (!copied) return fail(copied);
    if (chmod(path.c_str(), 0600) != 0) return fail_errno("io", "chmod " + path, errno);
    return {};
  };
  co_return co_await parts_.pool.run(work);
}

// Good makes base tell the old process to leave, and kill it when it lingers: its legs go first.
// One that does not move (its end is stopped) holds this up for a while only; it dials anew then.
net::Task<> NodeUpgrade::legs_have_moved() {
  const Instant deadline = net::now() + kMovesWithin;
  while (moves_ && moves_->left > 0) {
    const bool notified = co_await moves_ended_.wait_until(deadline);
    if (notified) continue;
    log_warning("upgrade.legs_left", {{"left", std::to_string(moves_ ? moves_->left : 0)}});
    co_return;
  }
}

net::Task<Result<void>> NodeUpgrade::raise_level(upgrade::EffectCall call) {
  if (parts_.view.feature_level() >= call.to.feature_level) co_return Result<void>();
  if (!parts_.serving()) co_return fail("not_writer", "This process does not write any more");
  pb::FeatureLevelRecord record;
  record.set_level(call.to.feature_level);
  record.set_raised_by_plan(call.plan.raw());
  record.set_raised_at_ms(net::wall_now().unix_ms);
  store::Transaction transaction;
  transaction.writes.push_back(
      store::Write::put("feature_level", "site", record.SerializeAsString()));
  // Followers must not go on without knowing that newer forms may come.
  transaction.flags = store::kFlagRequired;
  const Result<store::Outcome> raised = co_await parts_.writes.submit(std::move(transaction));
  if (!raised) co_return fail(raised);
  log_info("site.feature_level", {{"level", std::to_string(call.to.feature_level)}});
  co_return Result<void>();
}

}  // namespace everspan::node
