#include "node/failover_node.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>

#include "access/core/node_proof.h"
#include "common/bytes.h"
#include "common/log.h"
#include "store/orphan.h"

namespace everspan::node {
namespace {

// Runs `task` on `executor`, for callers of another one.
template <class T>
net::Task<T> on(net::Executor executor, net::Task<T> task) {
  return net::asio::co_spawn(std::move(executor), std::move(task), net::asio::use_awaitable);
}

// For a person who decides without the other node.
std::string what_may_be_lost(const api::FailoverStatus& now, bool primary) {
  if (!primary)
    return "Nobody serves until one of the two is made the primary. Nothing that was acknowledged "
           "is lost by this.";
  const bool in_sync = now.in_sync.size() > 1;
  std::string out =
      in_sync ? "As far as this node knows both had everything: what it has up to revision " +
                    std::to_string(now.head.value) + " stays."
              : "This node was not in sync: what the other acknowledged after revision " +
                    std::to_string(now.head.value) + " is not here.";
  out += " Whatever the other node acknowledged alone since it was last heard";
  if (now.peer && now.peer->last_heard)
    out += " (" + std::to_string((net::wall_now().unix_ms - now.peer->last_heard->unix_ms) / 1000) +
           " s ago)";
  out +=
      " is kept there and left out here: the two histories part, and a person picks one when it "
      "comes back.";
  return out;
}

constexpr std::size_t kOrphansMost = 1000;

bool is_orphan_name(const std::string& name) {
  return name.size() <= 200 && name.ends_with(".orphan") && !name.starts_with(".") &&
         name.find('/') == std::string::npos;
}

api::OrphanEntry shown(const store::LogEntry& entry) {
  api::OrphanEntry out{entry.revision, entry.epoch, entry.primary_time, {}};
  for (const store::Operation& operation : entry.operations)
    out.changes.push_back({operation.action == store::Action::put ? "put" : "delete",
                           operation.kind, operation.key, operation.bytes.size()});
  return out;
}

Result<api::Orphan> read_orphan_file(const std::string& folder, const std::string& name,
                                     Revision after, std::uint32_t limit) {
  api::Orphan out;
  out.about.name = name;
  const std::string path = folder + "/" + name;
  struct stat info{};
  if (!is_orphan_name(name) || stat(path.c_str(), &info) != 0)
    return fail("not_found", "There is no orphan of this name", "", "See `failover orphan list`");
  out.about.bytes = static_cast<std::uint64_t>(info.st_size);
  out.about.at = {static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1000};
  const store::VisitOrphan visit = [&](store::LogEntry&& entry) -> Result<void> {
    if (entry.revision <= after) return {};
    if (out.entries.size() < limit)
      out.entries.push_back(shown(entry));
    else
      out.more = true;
    return {};
  };
  const Result<store::Orphan> read = store::read_orphan(path, visit);
  if (!read) return fail(read);
  out.about.from = read->before.revision.next();
  out.about.through = read->last.revision;
  return out;
}

Result<std::vector<api::OrphanRow>> list_orphans(const std::string& folder) {
  std::vector<api::OrphanRow> rows;
  std::error_code error;
  for (const auto& each : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = each.path().filename().string();
    if (!is_orphan_name(name) || rows.size() >= kOrphansMost) continue;
    const Result<api::Orphan> orphan = read_orphan_file(folder, name, Revision{}, 0);
    if (!orphan) return fail(orphan);
    rows.push_back(orphan->about);
  }
  std::ranges::sort(rows, {}, &api::OrphanRow::name);
  return rows;
}

}  // namespace

FailoverNode::FailoverNode(Parts parts) : parts_(std::move(parts)), tasks_(parts_.control) {}
FailoverNode::~FailoverNode() = default;

net::Task<> FailoverNode::join() {
  tasks_.cancel();
  co_await tasks_.join();
}

api::FailoverStatus FailoverNode::status_here() const {
  return parts_.pair.status();
}

net::Task<Result<api::FailoverStatus>> FailoverNode::status_task() {
  co_return status_here();
}

net::Task<Result<api::FailoverStatus>> FailoverNode::failover_status() {
  co_return co_await on(parts_.control, status_task());
}

net::Task<Result<api::FailoverKey>> FailoverNode::failover_key() {
  co_return co_await on(parts_.control, key_here());
}

net::Task<Result<api::FailoverKey>> FailoverNode::make_failover_key(bool replace,
                                                                    api::Caller caller) {
  co_return co_await on(parts_.control, make_key_here(replace, std::move(caller.who)));
}

net::Task<Result<api::FailoverKey>> FailoverNode::make_key_here(bool replace, std::string who) {
  NodeFiles& files = parts_.pair.files();
  Result<std::string> made = files.make_inter_appliance_key(replace);
  if (!made) co_return fail(made);
  api::FailoverKey out;
  out.path = files.inter_appliance_key_path();
  out.present = true;
  out.fingerprint = access::key_fingerprint(*made);
  out.key = to_base64url(as_bytes(*made));
  wipe(*made);
  parts_.pair.journal(std::move(who), "failover.key_made",
                      "{\"fingerprint\":\"" + out.fingerprint + "\"}");
  co_return out;
}

net::Task<Result<api::FailoverKey>> FailoverNode::key_here() {
  NodeFiles& files = parts_.pair.files();
  api::FailoverKey out;
  out.path = files.inter_appliance_key_path();
  Result<std::optional<std::string>> key = files.inter_appliance_key();
  if (!key) co_return fail(key);
  if (*key) {
    out.present = true;
    out.fingerprint = access::key_fingerprint(**key);
    wipe(**key);
  }
  co_return out;
}

net::Task<Result<api::EstablishReport>> FailoverNode::establish(api::EstablishRequest request,
                                                                api::Caller caller) {
  co_return co_await on(parts_.control, establish_here(std::move(request), std::move(caller.who)));
}

net::Task<Result<api::SyncReport>> FailoverNode::sync_now(std::optional<Revision> target,
                                                          Instant deadline, api::Caller) {
  co_return co_await on(parts_.control, sync_here(target, deadline));
}

net::Task<Result<api::SyncReport>> FailoverNode::sync_here(std::optional<Revision> target,
                                                           Instant deadline) {
  api::SyncReport out;
  const api::FailoverStatus before = status_here();
  if (!before.peer)
    co_return fail("no_peer", "This node is in no failover relationship", "Nothing was changed",
                   "See `failover establish`");
  if (!before.peer->connected)
    co_return fail("unreachable", "The other node cannot be reached", "Nothing was changed",
                   before.peer->why_not);
  out.target = target.value_or(before.head);
  const Result<void> waited = co_await parts_.pair.wait_in_sync(out.target, deadline);
  out.done = waited.has_value();
  if (!waited) out.missing = waited.error().message;
  out.status = status_here();
  co_return out;
}

net::Task<Result<api::BecomeReport>> FailoverNode::become(api::BecomeRequest request,
                                                          api::Caller caller) {
  co_return co_await on(parts_.control, become_here(std::move(request), std::move(caller.who)));
}

net::Task<Result<api::BecomeReport>> FailoverNode::become_here(api::BecomeRequest request,
                                                               std::string who) {
  api::BecomeReport out;
  if (request.even_if_unreachable) {
    const api::FailoverStatus now = status_here();
    // What the person agrees to is what stands here now, to the revision.
    out.token = sha256_hex(now.lineage.hex() + "/" + std::to_string(now.epoch.value) + "/" +
                           std::to_string(now.head.value))
                    .substr(0, 16);
    out.may_be_lost = what_may_be_lost(now, request.primary);
    if (!request.agreed.empty() && request.agreed != out.token)
      co_return fail("conflict", "What may be lost has changed since it was shown",
                     "Nothing was changed", "Read it again");
    if (request.agreed.empty()) {
      out.role = now.role;
      out.epoch = now.epoch;
      out.lineage = now.lineage;
      co_return out;
    }
  }
  Result<void> done = fail("busy", "");
  if (request.even_if_unreachable) {
    done = co_await parts_.pair.force(request.primary, who);
  } else {
    done = co_await parts_.pair.become(request.primary, who);
  }
  if (!done) co_return fail(done);
  const api::FailoverStatus now = status_here();
  out.done = true;
  out.role = now.role;
  out.epoch = now.epoch;
  out.lineage = now.lineage;
  co_return out;
}

net::Task<Result<void>> FailoverNode::break_relationship(bool forget, api::Caller caller) {
  co_return co_await on(parts_.control, parts_.pair.broken(forget, std::move(caller.who)));
}

net::Task<Result<std::vector<api::OrphanRow>>> FailoverNode::orphans() {
  const std::string folder = parts_.orphan_folder;
  const std::function<Result<std::vector<api::OrphanRow>>()> work = [folder] {
    return list_orphans(folder);
  };
  co_return co_await parts_.pool.run(work);
}

net::Task<Result<api::Orphan>> FailoverNode::orphan(std::string name, Revision after,
                                                    std::uint32_t limit) {
  const std::string folder = parts_.orphan_folder;
  const std::function<Result<api::Orphan>()> work = [folder, name, after, limit] {
    return read_orphan_file(folder, name, after, limit);
  };
  co_return co_await parts_.pool.run(work);
}

std::vector<api::NodeAt> FailoverNode::nodes() {
  const std::lock_guard lock(mutex_);
  return nodes_;
}

std::optional<api::PrimaryElsewhere> FailoverNode::primary_elsewhere() {
  const std::lock_guard lock(mutex_);
  return elsewhere_;
}

void FailoverNode::roles_changed() {
  const api::FailoverStatus now = status_here();
  std::vector<api::NodeAt> nodes;
  if (const Result<net::Address> own = net::Address::parse(now.address))
    nodes.push_back({now.node, *own, now.role});
  if (now.peer)
    if (const Result<net::Address> other = net::Address::parse(now.peer->address))
      nodes.push_back({now.peer->node, *other, now.peer->role});
  const failover::Role role = parts_.pair.role();
  const bool may = role == failover::Role::backup || role == failover::Role::in_doubt ||
                   role == failover::Role::diverged;
  std::optional<api::PrimaryElsewhere> elsewhere;
  if (parts_.pair.active() && !parts_.pair.serves() && may)
    elsewhere = api::PrimaryElsewhere{now.role, parts_.pair.peer_address(),
                                      now.peer && now.peer->connected};
  const std::lock_guard lock(mutex_);
  nodes_ = std::move(nodes);
  elsewhere_ = std::move(elsewhere);
}

}  // namespace everspan::node
