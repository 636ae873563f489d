#include "access/core/node_proof.h"

#include "access/core/attach_proof.h"
#include "access/core/node_auth.h"
#include "common/bytes.h"

namespace everspan::access {
namespace {

constexpr std::string_view kNodeLabel("everspan node 1\0", 16);
constexpr std::string_view kKeyLabel("everspan establish 1\0", 21);

bool well_formed(const NodeClaim& claim) {
  return claim.public_key.size() == kNodeKeyBytes && claim.nonce.size() == kNodeNonceBytes;
}

Result<std::string> message(std::string_view label, NodeDirection who,
                            const NodeTranscript& transcript) {
  if (transcript.exporter.size() != kExporterBytes)
    return fail("bad_exporter", "This connection has no TLS exporter to bind the proof to");
  if (!well_formed(transcript.dialler) || !well_formed(transcript.acceptor) ||
      transcript.purpose.empty() || transcript.purpose.size() > kPurposeBytesMax)
    return fail("bad_exporter", "What the nodes claim is malformed");
  std::string out(label);
  out += static_cast<char>(who);
  out += transcript.exporter;
  for (const NodeClaim* claim : {&transcript.dialler, &transcript.acceptor}) {
    out += claim->node.raw();
    out += claim->public_key;
    out += claim->nonce;
  }
  out += static_cast<char>(transcript.purpose.size());
  out += transcript.purpose;
  return out;
}

}  // namespace

Result<std::string> prove_node(const SigningKey& key, NodeDirection who,
                               const NodeTranscript& transcript) {
  const Result<std::string> text = message(kNodeLabel, who, transcript);
  if (!text) return fail(text);
  return key.sign(*text);
}

Result<void> verify_node(NodeDirection who, const NodeTranscript& transcript,
                         std::string_view signature) {
  const Result<std::string> text = message(kNodeLabel, who, transcript);
  if (!text) return fail(text);
  const NodeClaim& claim = who == NodeDirection::dialler ? transcript.dialler : transcript.acceptor;
  if (!verify_signature(claim.public_key, *text, signature))
    return fail("bad_proof", "The other node's proof does not hold for this connection");
  return {};
}

Result<std::string> prove_key(std::string_view inter_appliance_key, NodeDirection who,
                              const NodeTranscript& transcript) {
  if (inter_appliance_key.size() != kInterApplianceKeyBytes)
    return fail("wrong_key", "An inter-appliance key has 32 bytes");
  const Result<std::string> text = message(kKeyLabel, who, transcript);
  if (!text) return fail(text);
  return hmac_sha256(inter_appliance_key, *text);
}

Result<void> verify_key(std::string_view inter_appliance_key, NodeDirection who,
                        const NodeTranscript& transcript, std::string_view proof) {
  const Result<std::string> expected = prove_key(inter_appliance_key, who, transcript);
  if (!expected) return fail(expected);
  if (!equal_constant_time(*expected, proof))
    return fail("wrong_key", "The two nodes do not hold the same inter-appliance key", "",
                "Compare the fingerprints: `everspan failover key show` on each");
  return {};
}

std::string key_fingerprint(std::string_view inter_appliance_key) {
  const std::string hex = sha256_hex(inter_appliance_key).substr(0, 16);
  std::string out;
  for (std::size_t i = 0; i < hex.size(); ++i) {
    if (i > 0 && i % 4 == 0) out += ' ';
    out += hex[i];
  }
  return out;
}

}  // namespace everspan::access
