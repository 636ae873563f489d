// What the relay needs from the rest of the node. Implemented by node/ (and by tests).
//
// Threads: everything is called from the io threads, several at once, and must not wait: memory
// only, or hand the work on. Callbacks given by the relay may be called from any thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "net/address.h"
#include "relay/core/types.h"

namespace everspan::relay {

struct OrdersInfo {
  std::vector<net::Address> candidates;  // In order.
  std::vector<std::string> names;  // To expect in the certificate; same order; may be shorter.
  std::uint32_t redial_after_ms = 0;
  std::uint32_t redial_spread_ms = 200;
  std::uint32_t heartbeat_ms = 5000;
};

// Words for the people at consoles; an empty text takes back what was said before.
struct NoticeInfo {
  std::string text;
  std::string level = "info";
  bool operator==(const NoticeInfo&) const = default;
};

struct AgentInfo {
  EndpointId endpoint;
  std::string name;
  std::string platform;
  std::string release;
  std::string address;
  std::int64_t since_ms = 0;
  bool at_peer_process = false;
};

enum class SessionEventKind : std::uint8_t { attached, lost, moved, ended, refused };
struct SessionEvent {
  SessionEventKind kind = SessionEventKind::attached;
  SessionId session;
  EndpointId endpoint;
  std::string person;
  Side side = Side::console;
  std::uint64_t generation = 0;
  std::string address;
  std::string detail;  // Reason of an end, code of a refusal.
};

class Services {
 public:
  virtual ~Services() = default;

  [[nodiscard]] virtual SiteId site_id() const = 0;
  [[nodiscard]] virtual NodeId node_id() const = 0;
  // Public key of this id, if it is one of the site's.
  [[nodiscard]] virtual std::optional<std::string> grant_key(std::string_view key_id) const = 0;
  // The enrolled key of an endpoint; none: not enrolled, or removed.
  [[nodiscard]] virtual std::optional<std::string> endpoint_key(const EndpointId& id) const = 0;
  // Serialised SignedTombstone, if the session has ended.
  [[nodiscard]] virtual std::optional<std::string> ended(const SessionId& session) const = 0;
  // Wants this session ended: sign a tombstone, store it, then call Relay::end_session. May be
  // asked more than once for one session.
  virtual void request_end(const SessionId& session, std::string reason) = 0;

  [[nodiscard]] virtual OrdersInfo orders() const = 0;
  // What consoles are to be told at their attach; nullopt: the site's feature level forbids to.
  [[nodiscard]] virtual std::optional<NoticeInfo> notice() const { return std::nullopt; }
  virtual void journal(const SessionEvent& event) = 0;
  virtual void agent_presence(const AgentInfo& agent, bool online) = 0;
  // The agent said no to open_session.
  virtual void open_refused(const SessionId& session, const Error& why) = 0;
};

}  // namespace everspan::relay
