// What a node keeps of itself and of the nodes that it knows, in DIR/node, mode 0600, never synced:
//
//   node.key              its Ed25519 key, made at the first start (the seed, hex)
//   peers                 nodes that it has met (pb::NodePeers)
//   inter-appliance.key   base64 of 32 bytes: lets one stranger in, once (access/core/node_proof.h)
//
// Written beside, fsynced, renamed. One thread at a time; calls block for a moment.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "net/address.h"

namespace everspan::node {

struct PeerEntry {
  NodeId node;
  std::string public_key;  // 32 bytes.
  net::Address address;    // Where it is reached from here.
  WallTime since;
};

struct NodeIdentity {
  NodeId node;
  SigningKey key;
};

class NodeFiles {
 public:
  explicit NodeFiles(std::string folder, NodeId node);

  // Reads all; makes the node's key when there is none. Again: what another process stored.
  [[nodiscard]] Result<void> open();
  [[nodiscard]] const NodeIdentity& identity() const { return *identity_; }
  [[nodiscard]] const PeerEntry* peer(const NodeId& node) const;
  [[nodiscard]] const std::vector<PeerEntry>& peers() const { return peers_; }
  [[nodiscard]] Result<void> put_peer(PeerEntry peer);  // Durable when it returns.
  [[nodiscard]] Result<void> forget_peer(const NodeId& node);

  // nullopt: there is none, or it is spent. Codes: bad_key_file (open to others, malformed).
  [[nodiscard]] Result<std::optional<std::string>> inter_appliance_key() const;
  // Code exists, without `replace`.
  [[nodiscard]] Result<std::string> make_inter_appliance_key(bool replace) const;
  // The key that was proved (ProvedLink::key_sha256), gone for good when it returns. Code no_key:
  // it was spent or replaced meanwhile; who proved it has no right to anything any more.
  [[nodiscard]] Result<void> spend_inter_appliance_key(std::string_view sha256_hex_of_key) const;
  [[nodiscard]] std::string inter_appliance_key_path() const;

 private:
  [[nodiscard]] Result<void> store_peers(const std::vector<PeerEntry>& peers);

  std::string folder_;
  NodeId node_;
  std::optional<NodeIdentity> identity_;
  std::vector<PeerEntry> peers_;
};

// 32 bytes from the text of a key file. Code bad_key.
[[nodiscard]] Result<std::string> parse_inter_appliance_key(const std::string& text);

}  // namespace everspan::node
