// A pair that does what a test tells it, and remembers what it was asked.
#pragma once
#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "api/services.h"
#include "common/crypto.h"

namespace everspan::api {

struct FakeFailover : FailoverService {
  FailoverStatus now;
  std::vector<NodeAt> known;
  std::optional<PrimaryElsewhere> elsewhere;
  FailoverKey key{.present = true, .fingerprint = "0011 2233 4455 6677", .path = "/d/node/k"};
  std::vector<Caller> callers;
  std::vector<EstablishRequest> establishing;
  EstablishReport report;
  std::vector<BecomeRequest> becoming;
  BecomeReport became{.done = true, .role = "primary", .epoch = Epoch{4}};
  std::vector<std::optional<Revision>> synced;
  SyncReport sync;
  std::vector<bool> broken;
  std::vector<OrphanRow> cut;
  std::string refuse;

  // This node and another one, in sync.
  void make_pair(const NodeId& self, const std::string& role) {
    const bool primary = role == "primary";
    const auto other = random_id<NodeId>();
    now.role = role;
    now.node = self;
    now.address = "127.0.0.1:8443";
    now.epoch = Epoch{3};
    now.head = now.committed = Revision{9};
    now.in_sync = {self, other};
    now.stores = {{self, Revision{9}}, {other, std::nullopt}};
    now.peer = FailoverStatus::Peer{.node = other,
                                    .address = "127.0.0.2:8443",
                                    .role = primary ? "backup" : "primary",
                                    .release = "0.1.0",
                                    .connected = true,
                                    .why_not = "",
                                    .last_heard = WallTime{1},
                                    .clock_ahead_ms = -12};
    now.shipping = primary ? "live" : "following";
    now.lag_records = 0;
    now.history = {{WallTime{1'700'000'000'000}, role, Epoch{3}, "established"}};
    known = {{self, {"127.0.0.1", 8443}, role},
             {other, {"127.0.0.2", 8443}, primary ? "backup" : "primary"}};
    if (!primary) elsewhere = PrimaryElsewhere{role, net::Address{"127.0.0.2", 8443}, true};
  }

  net::Task<Result<FailoverStatus>> failover_status() override { co_return now; }
  net::Task<Result<FailoverKey>> failover_key() override {
    FailoverKey out = key;
    out.key = "the secret";
    co_return out;
  }
  net::Task<Result<FailoverKey>> make_failover_key(bool replace, Caller caller) override {
    callers.push_back(std::move(caller));
    if (key.present && !replace) co_return fail("exists", "There is one");
    FailoverKey out = key;
    out.key = "the secret";
    co_return out;
  }
  net::Task<Result<EstablishReport>> establish(EstablishRequest request, Caller caller) override {
    callers.push_back(std::move(caller));
    establishing.push_back(std::move(request));
    if (!refuse.empty()) co_return fail(refuse, "No");
    co_return report;
  }
  net::Task<Result<SyncReport>> sync_now(std::optional<Revision> target, Instant,
                                         Caller caller) override {
    callers.push_back(std::move(caller));
    synced.push_back(target);
    if (!refuse.empty()) co_return fail(refuse, "No");
    co_return sync;
  }
  net::Task<Result<BecomeReport>> become(BecomeRequest request, Caller caller) override {
    callers.push_back(std::move(caller));
    becoming.push_back(std::move(request));
    if (!refuse.empty()) co_return fail(refuse, "No");
    co_return became;
  }
  net::Task<Result<void>> break_relationship(bool forget, Caller caller) override {
    callers.push_back(std::move(caller));
    if (!refuse.empty()) co_return fail(refuse, "No");
    broken.push_back(forget);
    co_return Result<void>();
  }
  net::Task<Result<std::vector<OrphanRow>>> orphans() override { co_return cut; }
  net::Task<Result<Orphan>> orphan(std::string name, Revision after, std::uint32_t limit) override {
    const auto found = std::ranges::find(cut, name, &OrphanRow::name);
    if (found == cut.end()) co_return fail("not_found", "There is none");
    Orphan out{.about = *found, .entries = {}, .more = limit < 2};
    OrphanEntry entry{
        .revision = after.next(), .epoch = Epoch{2}, .at = WallTime{1}, .changes = {}};
    entry.changes.push_back({"put", "setting", "motd", 12});
    out.entries.push_back(std::move(entry));
    co_return out;
  }
  std::vector<NodeAt> nodes() override { return known; }
  std::optional<PrimaryElsewhere> primary_elsewhere() override { return elsewhere; }
};

}  // namespace everspan::api
