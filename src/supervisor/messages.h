// base.proto to and from base's own values. Foreign bytes are checked here: sizes, missing parts.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/result.h"
#include "supervisor/core/slots_core.h"

namespace everspan::supervisor {

struct ListenerName {
  std::string name, host;
  std::uint32_t port = 0;
};
// What makes the first start of a node that makes a site; the password is wiped after use.
struct SiteInit {
  std::string site_name, admin_name, admin_password;
  std::string appliance_admin_name, appliance_admin_password;
  bool password_generated = false;
  std::vector<std::string> certificate_names;
};
struct WelcomeParts {
  std::string node_id, data_dir, release_digest, slot_token, base_socket;
  std::string trusted_root;  // root.json; empty: this appliance trusts no update server yet.
  std::vector<ListenerName> listeners;
  const SiteInit* init = nullptr;
  bool join = false;  // It waits for another node's site.
  std::uint32_t heartbeat_ms = 200;
};
struct Hello {
  std::uint32_t pid = 0;
  std::string token;
  std::uint32_t peer_pid = 0;
  std::vector<ListenerName> listeners;
};
struct BaseFacts {  // For BaseStatus.
  bool single_user = false;
};

// An event for the core, or a hello. Code: bad_message.
[[nodiscard]] Result<std::variant<Event, Hello>> parse_from_site(InstanceId from,
                                                                 std::string_view bytes);
[[nodiscard]] std::string welcome_bytes(const SendWelcome& what, const WelcomeParts& parts);
[[nodiscard]] std::string peer_bytes(Role role, const std::string& release, std::uint32_t pid);
[[nodiscard]] std::string message_bytes(const SendActivate& what);
[[nodiscard]] std::string message_bytes(const SendReleaseWriter& what);
[[nodiscard]] std::string message_bytes(const SendPeerGone& what);
[[nodiscard]] std::string message_bytes(const SendRole& what);
[[nodiscard]] std::string message_bytes(const SendRetire& what);
[[nodiscard]] std::string message_bytes(const Reply& what, const SlotsCore& core,
                                        const BaseFacts& facts);

}  // namespace everspan::supervisor
