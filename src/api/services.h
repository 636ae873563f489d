// What the API needs from above and beside it; node/ implements these over the relay, base and the
// upgrade runner, tests with small fakes. Called on the API's work executor, from several threads
// at once; a Task may wait, the other calls must not.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "net/address.h"
#include "net/async.h"
#include "upgrade/runner.h"

namespace everspan::api {

// One row of Connected Clients.
struct ClientRow {
  std::string kind;      // "agent", "console", "probe"
  std::string name;      // Endpoint's name, or the console's session.
  std::string person;    // Of the session; empty for a standing link.
  std::string endpoint;  // Name.
  std::string session;   // hex; empty for a standing link.
  std::string address;
  std::string release;
  std::string node;  // hex
  WallTime since;
  std::uint64_t generation = 0;
};
struct LiveSession {
  SessionId id;
  bool console = false;  // This end has a leg.
  bool agent = false;
  std::uint64_t bytes_c2a = 0;
  std::uint64_t bytes_a2c = 0;
};
struct LiveAgent {
  EndpointId endpoint;
  std::string release;
  std::string address;
  WallTime since;
};
// Of all nodes, and of both site processes of this one while one hands over.
struct LiveSnapshot {
  std::vector<ClientRow> clients;
  std::vector<LiveSession> sessions;
  std::vector<LiveAgent> agents;
  bool whole = true;  // False: the other node could not be asked, and may carry more.
};

class LiveService {
 public:
  virtual ~LiveService() = default;
  [[nodiscard]] virtual net::Task<Result<LiveSnapshot>> snapshot() = 0;
  [[nodiscard]] virtual bool agent_online(const EndpointId& endpoint) = 0;
  // Sends OpenSession to the agent's standing link. Code endpoint_offline.
  [[nodiscard]] virtual Result<void> open_session(const EndpointId& endpoint,
                                                  const std::string& signed_grant) = 0;
  // The tombstone is stored: both legs are told and closed.
  virtual void end_session(const SessionId& session, const std::string& signed_tombstone) = 0;
  virtual void close_endpoint(const EndpointId& endpoint) = 0;
  // Where agents and consoles dial, in order.
  [[nodiscard]] virtual std::vector<net::Address> candidates() = 0;

  struct Check {
    std::string name;
    bool ok = false;
    std::string detail;
  };
  // A probe session through this process, from end to end, and what else can be checked from here.
  [[nodiscard]] virtual net::Task<Result<std::vector<Check>>> verify() = 0;
};

struct SlotRow {
  std::string role;  // "active", "candidate", "fallback"
  std::string version;
  std::string digest;
  std::uint32_t pid = 0;
  bool ready = false;
};
struct NodeStatus {
  std::string address;  // HOST:PORT of the node itself.
  std::string release_digest;
  std::string role;  // "primary", "candidate", "fallback", ...
  std::uint64_t uptime_s = 0;
  std::vector<NodeId> in_sync;
  std::uint32_t feature_level = 0;  // Stored.
  std::string base_version;
  std::vector<SlotRow> slots;
  bool single_user = false;  // One uid serves for all: privileges are not separated.
};

class NodeService {
 public:
  virtual ~NodeService() = default;
  [[nodiscard]] virtual net::Task<Result<NodeStatus>> status() = 0;
  // This process serves: it is the writer, or forwards to who is. Else why not.
  [[nodiscard]] virtual Result<void> ready() = 0;
  // The address that a connection came in on is this node's own (not a shared one of the site).
  [[nodiscard]] virtual bool is_own_address(const net::Address& local) = 0;
};

struct UpgradeView {
  upgrade::Progress progress;
  std::uint64_t sessions_moved = 0;
  std::uint64_t sessions_total = 0;
  std::optional<std::uint64_t> legs_left;  // Still at the old process; none: this one was not told.
};

struct UpgradeAsked {
  PlanId plan;
  bool repeated = false;  // It had run before: this is its first outcome.
};

// What changes something carries the id of its request: asked again, also of another process of
// the site, it runs once. Code conflict: the id was used for something else.
class UpgradeService {
 public:
  virtual ~UpgradeService() = default;
  [[nodiscard]] virtual net::Task<Result<upgrade::Plan>> plan(upgrade::ApplyRequest request) = 0;
  [[nodiscard]] virtual net::Task<Result<UpgradeAsked>> apply(upgrade::ApplyRequest request) = 0;
  [[nodiscard]] virtual net::Task<Result<UpgradeAsked>> request(upgrade::Request what,
                                                                RequestId id) = 0;
  [[nodiscard]] virtual net::Task<Result<UpgradeView>> status() = 0;
};

// What a person sees of the relationship between two nodes (`failover status`). Unknown is nullopt
// or empty, never 0.
struct FailoverStatus {
  std::string role;  // "alone", "primary", "backup", "releasing", "taking", "in_doubt", "diverged",
                     // "joining" (no site yet)
  std::string why;   // Of the last change.
  NodeId node;
  std::string address;
  LineageId lineage;
  Epoch epoch;
  Revision head;  // Appended here.
  Revision committed;
  std::vector<NodeId> in_sync;
  struct Store {  // Who has what durably: what an acknowledgement waits for.
    NodeId node;
    std::optional<Revision> durable;  // nullopt: not heard.
  };
  std::vector<Store> stores;  // This node first, then the other; none: no relationship.
  struct Peer {
    NodeId node;
    std::string address;
    std::string role;  // As it says itself; empty: not heard.
    std::string release;
    bool connected = false;
    std::string why_not;  // Of the last attempt, while not connected.
    std::optional<WallTime> last_heard;
    std::optional<std::int64_t> clock_ahead_ms;  // Its clock less ours.
  };
  std::optional<Peer> peer;  // None: no relationship.
  std::string shipping;      // "off", "comparing", "catching_up", "live", "snapshot", "stopped",
                             // "diverged"; at the backup "following"
  std::string shipping_why;  // Why nothing more is taken there, in its words; empty: it is.
  std::optional<std::uint64_t> lag_records;
  std::optional<std::uint64_t> lag_bytes;
  std::optional<std::uint64_t> lag_ms;  // Age of the oldest entry that the other lacks.
  std::optional<WallTime> last_in_sync;
  std::optional<std::uint64_t> journal_missing;  // Bytes of journal and blobs still to come or go.
  std::optional<std::uint64_t> blobs_missing;
  struct Change {
    WallTime at;
    std::string role;
    Epoch epoch;
    std::string why;
  };
  std::vector<Change> history;  // Newest last; at most 20.
};
// A node of the site as this one knows it, for those who must find another one.
struct NodeAt {
  NodeId node;
  net::Address address;
  std::string role;  // As in FailoverStatus; empty: not heard.
};
// This node does not serve writes (docs/api.md, not_primary).
struct PrimaryElsewhere {
  std::string role;                     // Of this node: "backup", "in_doubt", ...
  std::optional<net::Address> address;  // Of the primary; none: not known.
  bool reachable = false;               // From here, now.
};
struct FailoverKey {
  bool present = false;
  std::string fingerprint;  // 16 hex digits, in groups of four.
  std::string path;         // On the node.
  std::string key;          // As in its file; only in the answer to create.
};
struct EstablishRequest {
  net::Address backup;            // Where this node reaches the other.
  net::Address reverse;           // Where the other reaches this node.
  std::string key;                // As in its file; empty: both know each other already.
  bool overwrite_backup = false;  // It has a site of its own, which loses.
  bool dry_run = false;           // Checks only.
};
struct EstablishReport {
  struct Check {
    std::string name;  // "reach", "reverse", "key", "release", "clock", "platform", "history",
                       // "address"; in the order in which they were made.
    bool ok = false;
    bool warning = false;  // Not as it should be, but no reason to refuse.
    std::string detail;
  };
  std::vector<Check> checks;
  bool established = false;
  NodeId backup;
  std::string would;  // What happens, or would, in a sentence.
  // Why not, when a check says no. Codes: unreachable, wrong_key, key_spent, wire_range, clock,
  // platform, diverged, has_site.
  std::optional<Error> refused;
};
struct SyncReport {
  bool done = false;    // `target` is durable on both, and both have the other's journal and blobs.
  Revision target;      // What had been appended here at the first call.
  std::string missing;  // For people; empty when done.
  FailoverStatus status;
};
struct BecomeRequest {
  bool primary = false;
  bool even_if_unreachable = false;
  // With even_if_unreachable: what the person was shown and agreed to (BecomeReport::token);
  // empty: only say what may be lost.
  std::string agreed;
};
struct BecomeReport {
  bool done = false;
  std::string role;
  Epoch epoch;
  LineageId lineage;
  std::string may_be_lost;  // For people; empty: nothing.
  std::string token;        // To agree with; good while what may be lost is the same.
};
struct OrphanRow {
  std::string name;  // Of the file, as the API takes it: [a-zA-Z0-9._-], no dot first.
  std::uint64_t bytes = 0;
  Revision from, through;
  WallTime at;
};
struct OrphanEntry {  // No values: they may be secrets.
  Revision revision;
  Epoch epoch;
  WallTime at;
  struct Change {
    std::string verb;  // "put", "delete"
    std::string kind, key;
    std::uint64_t bytes = 0;
  };
  std::vector<Change> changes;
};
struct Orphan {
  OrphanRow about;
  std::vector<OrphanEntry> entries;  // At most `limit`, after `after`.
  bool more = false;
};

// Who asks, for the journal; and the id of the request: asked again, it gives its first outcome
// as long as this process remembers it.
struct Caller {
  std::string who;
  RequestId request;
};

// The pair. Every call that changes something is journalled by who implements it. Where a call runs
// on another node than it is meant for, its code is not_primary.
class FailoverService {
 public:
  virtual ~FailoverService() = default;
  [[nodiscard]] virtual net::Task<Result<FailoverStatus>> failover_status() = 0;
  [[nodiscard]] virtual net::Task<Result<FailoverKey>> failover_key() = 0;
  // Code exists: a key is there already, and `replace` was not said.
  [[nodiscard]] virtual net::Task<Result<FailoverKey>> make_failover_key(bool replace,
                                                                         Caller caller) = 0;
  // Codes: not_primary, paired (with another node), bad_key, busy. What a check finds is in the
  // report. Established with this very node already: a report that says so.
  [[nodiscard]] virtual net::Task<Result<EstablishReport>> establish(EstablishRequest request,
                                                                     Caller caller) = 0;
  // Waits until `deadline` at most. `target`: of the report of an earlier call that was not done.
  // Codes: no_peer, unreachable.
  [[nodiscard]] virtual net::Task<Result<SyncReport>> sync_now(std::optional<Revision> target,
                                                               Instant deadline, Caller caller) = 0;
  // Already so: done, nothing is changed. Codes: no_peer, unreachable, not_in_sync, busy, in_doubt,
  // conflict (`agreed` is for another state than the present one).
  [[nodiscard]] virtual net::Task<Result<BecomeReport>> become(BecomeRequest request,
                                                               Caller caller) = 0;
  // Code no_peer.
  [[nodiscard]] virtual net::Task<Result<void>> break_relationship(bool forget, Caller caller) = 0;
  [[nodiscard]] virtual net::Task<Result<std::vector<OrphanRow>>> orphans() = 0;
  // Code not_found. `name` is of the form above, checked.
  [[nodiscard]] virtual net::Task<Result<Orphan>> orphan(std::string name, Revision after,
                                                         std::uint32_t limit) = 0;

  // None of these waits. This node first; a node that stands alone is one.
  [[nodiscard]] virtual std::vector<NodeAt> nodes() = 0;
  // nullopt: this node serves, or is about to (a hand-over queues).
  [[nodiscard]] virtual std::optional<PrimaryElsewhere> primary_elsewhere() = 0;
};

struct UpdateRow {
  std::string version;
  std::string digest;  // Of the package.
  std::uint64_t bytes = 0;
  std::string notes;
  bool installed = false;
  bool installable = false;  // It can follow the running release.
  std::string why_not;       // When it is not installable.
};
struct UpdateList {
  std::string source;  // URL of the depot.
  WallTime checked_at;
  std::vector<UpdateRow> releases;
};

class UpdateService {
 public:
  virtual ~UpdateService() = default;
  // As known from the metadata fetched last.
  [[nodiscard]] virtual net::Task<Result<UpdateList>> list() = 0;
  // Fetches and verifies metadata now. Codes: no_source, depot_unreachable, and those of update/.
  [[nodiscard]] virtual net::Task<Result<UpdateList>> refresh() = 0;
};

}  // namespace everspan::api
