#include "access/core/node_auth.h"

#include "proto/node_link.pb.h"

namespace everspan::access {
namespace {

constexpr std::size_t kSignatureBytes = 64;
constexpr std::size_t kCodeMax = 40;
constexpr std::size_t kTextMax = 200;

bool none_or(const std::string& bytes, std::size_t size) {
  return bytes.empty() || bytes.size() == size;
}

}  // namespace

std::string encode_node_auth(const NodeAuthFrame& frame) {
  pb::NodeAuth out;
  if (frame.claim) {
    out.set_node_id(frame.claim->node.raw());
    out.set_public_key(frame.claim->public_key);
    out.set_nonce(frame.claim->nonce);
  }
  out.set_purpose(frame.purpose);
  out.set_signature(frame.signature);
  out.set_key_proof(frame.key_proof);
  return out.SerializeAsString();
}

std::string encode_node_refusal(const Error& why) {
  pb::NodeAuth out;
  out.set_code(why.code.empty() ? "refused" : why.code);
  out.set_message(why.message);
  out.set_next(why.next);
  return out.SerializeAsString();
}

Result<NodeAuthFrame> decode_node_auth(std::string_view bytes) {
  pb::NodeAuth in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail("bad_message", "The other node's greeting cannot be read");
  if (!in.code().empty())
    return fail(printable(in.code(), kCodeMax), printable(in.message(), kTextMax), "",
                printable(in.next(), kTextMax));
  NodeAuthFrame out;
  if (!in.node_id().empty() || !in.public_key().empty() || !in.nonce().empty()) {
    const Result<NodeId> node = NodeId::from_raw(in.node_id());
    if (!node || in.public_key().size() != kNodeKeyBytes || in.nonce().size() != kNodeNonceBytes)
      return fail("bad_message", "The other node's greeting names it in a wrong way");
    out.claim = NodeClaim{*node, in.public_key(), in.nonce()};
  }
  if (in.purpose().size() > kPurposeBytesMax || !none_or(in.signature(), kSignatureBytes) ||
      !none_or(in.key_proof(), kKeyProofBytes))
    return fail("bad_message", "The other node's greeting has parts of a wrong size");
  out.purpose = in.purpose();
  out.signature = in.signature();
  out.key_proof = in.key_proof();
  return out;
}

}  // namespace everspan::access
