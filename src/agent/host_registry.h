// The agent's side of its session-hosts: finds and starts them, dials for them, and copies bytes
// between their legs and the node (docs/decisions/2026-11-23-agent-and-host.md).
//
// One executor. Limits: kSessionsMax hosts.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/identity.h"
#include "net/async.h"
#include "net/tls.h"
#include "net/transport.h"

namespace everspan::agent {

inline constexpr std::size_t kSessionsMax = 1000;

class HostRegistry {
 public:
  // What is referred to outlives the registry.
  HostRegistry(net::Executor executor, std::string folder, std::string host_program,
               const Identity& identity, const SigningKey& key, const net::TlsContext& tls);
  ~HostRegistry();

  void find_hosts();  // Those that an earlier agent left.
  [[nodiscard]] bool has(const std::string& session_id) const;
  [[nodiscard]] std::size_t count() const { return hosts_.size(); }
  [[nodiscard]] std::vector<std::string> sessions() const;
  // `orders`: serialised pb::Orders, where the site is now.
  [[nodiscard]] net::Task<Result<void>> open(std::string session_id, std::string signed_grant,
                                             std::string orders);
  [[nodiscard]] net::Task<void> stop();  // Hosts stay.

 private:
  class HostLink;
  friend class HostLink;
  net::Task<void> serve_host(std::string path);
  net::Task<void> carry_leg(std::string path, std::string dial);
  net::Task<void> bring_leg(std::string path, std::uint64_t generation,
                            std::unique_ptr<net::Transport> node, std::string early);
  void host_gone(HostLink* which);
  void report_failure(const std::string& path, std::uint64_t generation, const Error& why);

  net::Executor executor_;
  std::string folder_;
  std::string host_program_;
  const Identity& identity_;
  const SigningKey& key_;
  const net::TlsContext& tls_;
  std::map<std::string, std::shared_ptr<HostLink>> hosts_;  // By socket path.
  net::TaskScope tasks_;
};

}  // namespace everspan::agent
