#include "node/node_files.h"

#include <unistd.h>

#include <algorithm>

#include "access/core/node_proof.h"
#include "common/bytes.h"
#include "net/async.h"
#include "net/small_file.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

constexpr std::size_t kKeyFileBytesMax = 256;
constexpr std::size_t kPeersBytesMax = 64 * 1024;
constexpr int kPeersMax = 64;

std::string_view without_break(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  return text;
}

Error bad_key_file(Error why, const std::string& path) {
  if (why.code != "too_open" && why.code != "too_long") return why;
  return {"bad_key_file", why.message, "It was not used",
          "If nobody else can have read it: chmod 600 " + path + ", owned by the site's user"};
}

Result<SigningKey> key_of(const std::string& path, std::string text) {
  Result<std::string> seed = from_hex(without_break(text));
  wipe(text);
  if (!seed || seed->size() != 32)
    return fail("bad_key_file", path + " is no node key", "It was not changed",
                "Restore it, or remove it and establish the failover relationship again");
  Result<SigningKey> key = SigningKey::from_seed(*seed);
  wipe(*seed);
  return key;
}

Result<PeerEntry> read_peer(const pb::NodePeer& in) {
  const Result<NodeId> node = NodeId::from_raw(in.node_id());
  if (!node) return fail(node);
  if (in.public_key().size() != 32 || in.port() == 0 || in.port() > 65535)
    return fail("bad_peers", "an entry is malformed");
  return PeerEntry{
      *node, in.public_key(), {in.host(), static_cast<std::uint16_t>(in.port())}, {in.since_ms()}};
}

}  // namespace

NodeFiles::NodeFiles(std::string folder, NodeId node) : folder_(std::move(folder)), node_(node) {}

Result<void> NodeFiles::open() {
  const std::string key_path = folder_ + "/node.key";
  Result<std::optional<std::string>> text =
      net::read_small_file(key_path, kKeyFileBytesMax, net::Secrecy::owner_only);
  if (!text) return std::unexpected(bad_key_file(text.error(), key_path));
  if (!*text) {
    const SigningKey made = SigningKey::generate();
    std::string seed = made.seed();
    std::string hex = to_hex(as_bytes(seed)) + "\n";
    const Result<void> written = net::write_small_file(key_path, hex);
    wipe(seed);
    if (!written) {
      wipe(hex);
      return written;
    }
    *text = std::move(hex);
  }
  Result<SigningKey> key = key_of(key_path, std::move(**text));
  if (!key) return fail(key);
  identity_.emplace(NodeIdentity{node_, std::move(*key)});

  const std::string peers_path = folder_ + "/peers";
  Result<std::optional<std::string>> bytes = net::read_small_file(peers_path, kPeersBytesMax);
  if (!bytes) return fail(bytes);
  peers_.clear();
  if (!*bytes) return {};
  pb::NodePeers peers;
  if (!peers.ParseFromString(**bytes) || peers.peers_size() > kPeersMax)
    return fail("bad_peers", peers_path + " cannot be read", "It was not changed",
                "Restore it, or remove it and establish the failover relationship again");
  for (const pb::NodePeer& each : peers.peers()) {
    Result<PeerEntry> peer = read_peer(each);
    if (!peer) return fail("bad_peers", peers_path + ": " + peer.error().message);
    peers_.push_back(std::move(*peer));
  }
  return {};
}

const PeerEntry* NodeFiles::peer(const NodeId& node) const {
  const auto at = std::ranges::find(peers_, node, &PeerEntry::node);
  return at == peers_.end() ? nullptr : &*at;
}

Result<void> NodeFiles::store_peers(const std::vector<PeerEntry>& peers) {
  pb::NodePeers out;
  for (const PeerEntry& each : peers) {
    pb::NodePeer& peer = *out.add_peers();
    peer.set_node_id(each.node.raw());
    peer.set_public_key(each.public_key);
    peer.set_host(each.address.host);
    peer.set_port(each.address.port);
    peer.set_since_ms(each.since.unix_ms);
  }
  const Result<void> stored = net::write_small_file(folder_ + "/peers", out.SerializeAsString());
  if (stored) peers_ = peers;
  return stored;
}

Result<void> NodeFiles::put_peer(PeerEntry peer) {
  std::vector<PeerEntry> peers = peers_;
  std::erase_if(peers, [&](const PeerEntry& each) { return each.node == peer.node; });
  if (peers.size() >= kPeersMax) return fail("too_many", "This node knows 64 others already");
  peers.push_back(std::move(peer));
  return store_peers(peers);
}

Result<void> NodeFiles::forget_peer(const NodeId& node) {
  std::vector<PeerEntry> peers = peers_;
  std::erase_if(peers, [&](const PeerEntry& each) { return each.node == node; });
  return store_peers(peers);
}

std::string NodeFiles::inter_appliance_key_path() const {
  return folder_ + "/inter-appliance.key";
}

Result<std::optional<std::string>> NodeFiles::inter_appliance_key() const {
  const std::string path = inter_appliance_key_path();
  Result<std::optional<std::string>> text =
      net::read_small_file(path, kKeyFileBytesMax, net::Secrecy::owner_only);
  if (!text) return std::unexpected(bad_key_file(text.error(), path));
  if (!*text) return std::optional<std::string>();
  Result<std::string> key = parse_inter_appliance_key(**text);
  wipe(**text);
  if (!key)
    return fail("bad_key_file", path + ": " + key.error().message, "It was not used",
                "Make a new one: `everspan failover key create --replace`");
  return std::optional<std::string>(std::move(*key));
}

Result<std::string> NodeFiles::make_inter_appliance_key(bool replace) const {
  const std::string path = inter_appliance_key_path();
  if (!replace && ::access(path.c_str(), F_OK) == 0)
    return fail("exists", "This node has an inter-appliance key already", "It was not changed",
                "See `everspan failover key show`, or say --replace");
  std::string key = random_bytes(access::kInterApplianceKeyBytes);
  std::string text = to_base64url(as_bytes(key)) + "\n";
  const Result<void> written = net::write_small_file(path, text);
  wipe(text);
  if (!written) return fail(written);
  return key;
}

Result<void> NodeFiles::spend_inter_appliance_key(std::string_view sha256_hex_of_key) const {
  Result<std::optional<std::string>> key = inter_appliance_key();
  if (!key) return fail(key);
  const bool same = *key && sha256_hex(**key) == sha256_hex_of_key;
  if (*key) wipe(**key);
  if (!same)
    return fail("no_key", "The inter-appliance key was used or replaced since it was proved",
                "Nothing was changed", "Make one there: `everspan failover key create`");
  const Result<bool> removed = net::remove_small_file(inter_appliance_key_path());
  if (!removed) return fail(removed);
  return {};
}

Result<std::string> parse_inter_appliance_key(const std::string& text) {
  Result<std::string> key = from_base64url(without_break(text));
  if (!key || key->size() != access::kInterApplianceKeyBytes)
    return fail("bad_key", "This is no inter-appliance key (base64url of 32 bytes)");
  return key;
}

}  // namespace everspan::node
