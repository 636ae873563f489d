// Two nodes prove to each other who they are over the TLS connection in use (RFC 9266: channel
// binding by exporter), each with its own key, and, the first time, with the inter-appliance key.
// A proof holds on its own connection and for its own direction and purpose only.
//
//   transcript = label + direction (1) + exporter (32) + dialler's id (16) and key (32) and nonce
//   (32)
//                + acceptor's id, key and nonce + u8 size and purpose
//   signature:  Ed25519 over the transcript with label "everspan node 1\0"
//   key proof:  HMAC-SHA-256 (RFC 2104) over it with label "everspan establish 1\0"
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"

namespace everspan::access {

inline constexpr std::size_t kNodeKeyBytes = 32;
inline constexpr std::size_t kNodeNonceBytes = 32;
inline constexpr std::size_t kKeyProofBytes = 32;
inline constexpr std::size_t kInterApplianceKeyBytes = 32;

enum class NodeDirection : std::uint8_t { dialler = 1, acceptor = 2 };  // Who proves.

struct NodeClaim {
  NodeId node;
  std::string public_key;  // 32 bytes
  std::string nonce;
};
struct NodeTranscript {
  std::string exporter;
  NodeClaim dialler;
  NodeClaim acceptor;
  std::string purpose;
};

// Code bad_exporter: not 32 bytes, or a claim that is malformed.
[[nodiscard]] Result<std::string> prove_node(const SigningKey& key, NodeDirection who,
                                             const NodeTranscript& transcript);
// With the key that the claim names; whether that is the pinned one is the caller's to check. Code
// bad_proof.
[[nodiscard]] Result<void> verify_node(NodeDirection who, const NodeTranscript& transcript,
                                       std::string_view signature);
[[nodiscard]] Result<std::string> prove_key(std::string_view inter_appliance_key, NodeDirection who,
                                            const NodeTranscript& transcript);
// Code wrong_key.
[[nodiscard]] Result<void> verify_key(std::string_view inter_appliance_key, NodeDirection who,
                                      const NodeTranscript& transcript, std::string_view proof);

// For people to compare: the first 16 hex digits of SHA-256 of the key, in groups of four.
[[nodiscard]] std::string key_fingerprint(std::string_view inter_appliance_key);

}  // namespace everspan::access
