// The greeting of two nodes as bytes: pb::NodeAuth, checked. Comes from strangers. Pure, fuzzed.
//
//   dialler                              acceptor
//   claim, purpose              ->
//                               <-       claim, signature
//   signature [key proof]       ->
//                               <-       [key proof], or a refusal
//
// Neither signs before it has the other's claim: a signature is over both (node_proof.h). The
// dialler's claim comes first, so the acceptor signs for a stranger; it says nothing by that but
// who it is. Either side may send a refusal in place of its frame.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "access/core/node_proof.h"
#include "common/result.h"

namespace everspan::access {

inline constexpr std::size_t kPurposeBytesMax = 32;

struct NodeAuthFrame {
  std::optional<NodeClaim> claim;
  std::string purpose;
  std::string signature;  // Empty or 64 bytes.
  std::string key_proof;  // Empty or 32 bytes.
};

[[nodiscard]] std::string encode_node_auth(const NodeAuthFrame& frame);
[[nodiscard]] std::string encode_node_refusal(const Error& why);
// Code bad_message: malformed. A refusal comes back as the error that it says, cut to one line.
[[nodiscard]] Result<NodeAuthFrame> decode_node_auth(std::string_view bytes);

}  // namespace everspan::access
