// The data folder: who owns what. DIR itself is root's and sticky, so that the site can make its
// files in it but cannot rename base's folders away.
//
//   base/       0700 root   state, trust, node id: the site cannot read it
//   releases/   0755 root   one folder a release, named by digest, read-only
//   run/        0755 root   base.sock, logs of sites, staging
//   node/ journal/ blobs/ read/ incoming/ recordings/   0700 site
//
// Started by an ordinary user, one uid owns all; `separate` is false and base says so.
#pragma once
#include <sys/types.h>

#include <string>

#include "common/ids.h"
#include "common/result.h"

namespace everspan::supervisor {

struct SiteUser {
  uid_t uid = 0;
  gid_t gid = 0;
  bool separate = false;  // Base is root and the site is not.
};
inline constexpr unsigned kSiteUidDefault = 64777;  // Where no user `everspan` exists.
// `name`: a user of this machine, or empty for the default. Codes: no_user.
[[nodiscard]] Result<SiteUser> find_site_user(const std::string& name);

struct Layout {
  std::string data;  // Absolute.
  [[nodiscard]] std::string base() const { return data + "/base"; }
  [[nodiscard]] std::string state() const { return base() + "/state"; }
  [[nodiscard]] std::string trust() const { return base() + "/trust"; }
  [[nodiscard]] std::string node_id() const { return base() + "/node-id"; }
  // The node has a site: "made" here at the first start, or "joined", shipped by another node.
  [[nodiscard]] std::string site_made() const { return base() + "/site-made"; }
  // Started with --join, and no site came yet.
  [[nodiscard]] std::string joining() const { return base() + "/joining"; }
  [[nodiscard]] std::string log() const { return data + "/log.db"; }
  // The site process writes it; others only name it to people (node/node_files.h).
  [[nodiscard]] std::string inter_appliance_key() const {
    return data + "/node/inter-appliance.key";
  }
  [[nodiscard]] std::string failpoints_enabled() const { return base() + "/failpoints-enabled"; }
  [[nodiscard]] std::string failpoint_hits() const { return run() + "/failpoint-hits"; }
  [[nodiscard]] std::string releases() const { return data + "/releases"; }
  [[nodiscard]] std::string run() const { return data + "/run"; }
  [[nodiscard]] std::string base_socket() const { return run() + "/base.sock"; }
  [[nodiscard]] std::string incoming() const { return data + "/incoming"; }
};

// The site's user can enter every folder that exists above the data folder. Changes nothing. Code
// cannot_enter: names the folder, its owner and what to do.
[[nodiscard]] Result<void> check_reachable(const Layout& layout, const SiteUser& user);
// Makes what is missing, sets owners and modes. Safe to repeat.
[[nodiscard]] Result<void> make_layout(const Layout& layout, const SiteUser& user);
// 16 random bytes, made once. Code: bad_node_id.
[[nodiscard]] Result<NodeId> load_or_make_node_id(const Layout& layout);
// Empty unless the enabling file is there and is owned by root (or by us, if we are not root).
[[nodiscard]] bool failpoints_allowed(const Layout& layout);
// The armed failpoints' hits, in a file that base and its sites share: a point strikes one process
// of the node once, also after base was started again.
[[nodiscard]] Result<void> share_failpoint_hits(const Layout& layout, const SiteUser& user);

}  // namespace everspan::supervisor
