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
// Of the whole node: both site processes while one hands over.
struct LiveSnapshot {
  std::vector<ClientRow> clients;
  std::vector<LiveSession> sessions;
  std::vector<LiveAgent> agents;
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
