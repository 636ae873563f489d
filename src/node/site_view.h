// What the relay's threads must know of the settings without waiting: keys of endpoints, the site's
// grant key, sessions that have ended. Fed from the log's committed entries; read from any thread.
//
// Ended sessions are remembered for as long as an end could come back with their grant: until the
// grant's last first-attach time and the session's time to live have both passed (kForgetAfter
// covers both).
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/log.h"

namespace everspan::node {

inline constexpr std::chrono::hours kForgetEndedAfter{48};

struct EndedSession {
  SessionId session;
  std::string signed_tombstone;
};

class SiteView {
 public:
  struct SiteFacts {
    SiteId id;
    std::string name;
    std::string ca_pem;
    std::string certificate_pem;
    std::vector<std::string> certificate_names;
    std::string grant_public_key;
  };

  // Everything that is committed. Again after a rebuild.
  [[nodiscard]] Result<void> load(store::LogReader& log, WallTime now);
  // Entries since; returns the sessions that ended in them, so that the relay can be told. Loads
  // again when the log no longer has them.
  [[nodiscard]] Result<std::vector<EndedSession>> follow(store::LogReader& log, WallTime now);
  void forget_old(WallTime now);

  [[nodiscard]] Revision applied() const;
  [[nodiscard]] SiteFacts site() const;
  [[nodiscard]] std::uint32_t feature_level() const;
  // The setting site.banner; nullopt while the feature level does not allow to send it.
  [[nodiscard]] std::optional<std::string> console_notice() const;
  [[nodiscard]] std::optional<std::string> grant_key(std::string_view key_id) const;
  [[nodiscard]] std::optional<std::string> endpoint_key(const EndpointId& id) const;
  [[nodiscard]] std::optional<std::string> endpoint_name(const EndpointId& id) const;
  [[nodiscard]] std::optional<std::string> ended(const SessionId& id) const;
  // Whether an account or a revocation was written since the last call.
  [[nodiscard]] bool take_rights_changed();
  // Endpoints that were erased since the last call.
  [[nodiscard]] std::vector<EndpointId> take_removed_endpoints();

 private:
  struct EndpointFacts {
    std::string key;
    std::string name;
  };
  struct EndedFacts {
    std::string signed_tombstone;
    std::int64_t ended_at_ms = 0;
  };
  Result<void> load_again(store::LogReader& log, WallTime now,
                          std::vector<EndedSession>& newly_ended);
  Result<void> put(std::string_view kind, std::string_view key, std::string_view bytes,
                   std::vector<EndedSession>* newly_ended);
  void erase(std::string_view kind, std::string_view key);

  mutable std::shared_mutex mutex_;
  SiteFacts site_;
  std::string grant_key_id_;
  std::uint32_t feature_level_ = 1;
  std::string banner_;
  std::unordered_map<EndpointId, EndpointFacts> endpoints_;
  std::unordered_map<SessionId, EndedFacts> ended_;
  std::vector<EndpointId> removed_;
  bool rights_changed_ = false;
  store::LogHead applied_;
};

}  // namespace everspan::node
