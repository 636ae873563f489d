// How two nodes greet: Hello, then who they are, proved (node_link.h).
#include <algorithm>

#include "access/core/attach_proof.h"
#include "access/core/node_auth.h"
#include "common/log.h"
#include "common/version.h"
#include "net/frame_link.h"
#include "net/tls.h"
#include "node/node_link.h"
#include "proto/frame.h"
#include "proto/link.pb.h"

namespace everspan::node {
namespace {

using access::NodeAuthFrame;
using access::NodeDirection;
using access::NodeTranscript;

constexpr LinkPurpose kPurposes[] = {LinkPurpose::control, LinkPurpose::establish};

std::string control(const std::string& bytes) {
  std::string frame;
  wire::append_frame(frame, wire::Control{bytes});
  return frame;
}

struct Opened {
  std::unique_ptr<net::Transport> transport;
  std::string early;
  std::string exporter;
  NodeId node;  // As HelloReply says; not proved.
};

net::Task<Result<Opened>> say_hello(net::Address to, Instant deadline) {
  net::TlsClientOptions options;
  options.alpn = std::string(wire::kAlpn);
  options.proved_by_exporter = true;
  Result<net::TlsContext> context = net::TlsContext::client(options);
  if (!context) co_return fail(context);
  Result<std::unique_ptr<net::Transport>> tls =
      co_await net::tls_connect(*context, to, to.host, deadline);
  if (!tls) co_return fail(tls);
  Opened out;
  out.transport = std::move(*tls);
  pb::LinkMessage hello;
  hello.mutable_hello()->set_kind(pb::Hello::KIND_PEER);
  hello.mutable_hello()->set_release(std::string(program_version()));
  hello.mutable_hello()->set_wire_min(wire::kWireMin);
  hello.mutable_hello()->set_wire_max(wire::kWireMax);
  std::string frame = control(hello.SerializeAsString());
  const Result<void> sent = co_await net::write_all(*out.transport, std::move(frame), deadline);
  if (!sent) co_return fail(sent);
  const Result<std::string> bytes =
      co_await net::read_control(*out.transport, out.early, wire::kHelloBytesMax, deadline);
  if (!bytes) co_return fail(bytes);
  pb::LinkMessage reply;
  if (!reply.ParseFromString(*bytes) || !reply.has_hello_reply())
    co_return fail("bad_hello", to.text() + " does not answer like an Everspan node");
  if (reply.hello_reply().has_refuse()) {
    const pb::Refuse& refuse = reply.hello_reply().refuse();
    co_return fail(printable(refuse.code(), 40), printable(refuse.message(), 200), "",
                   printable(refuse.next(), 200));
  }
  const std::uint32_t spoken = reply.hello_reply().wire();
  if (!wire::common_version(spoken, spoken))
    co_return fail("wire_range", to.text() + " answers in a protocol that was not offered");
  const Result<NodeId> node = NodeId::from_raw(reply.hello_reply().node_id());
  if (!node) co_return fail("bad_hello", to.text() + " does not say which node it is");
  out.node = *node;
  out.exporter = out.transport->exporter(wire::kExporterLabel, access::kExporterBytes);
  co_return out;
}

net::Task<Result<NodeAuthFrame>> read_auth(net::Transport& transport, std::string& early,
                                           Instant deadline) {
  const Result<std::string> bytes =
      co_await net::read_control(transport, early, wire::kHelloBytesMax, deadline);
  if (!bytes) co_return fail(bytes);
  co_return access::decode_node_auth(*bytes);
}

net::Task<Result<void>> write_auth(net::Transport& transport, NodeAuthFrame frame,
                                   Instant deadline) {
  std::string bytes = control(access::encode_node_auth(frame));
  const Result<void> sent = co_await net::write_all(transport, std::move(bytes), deadline);
  co_return sent;
}

access::NodeClaim own_claim(const NodeIdentity& self) {
  return {self.node, self.key.public_key(), random_bytes(access::kNodeNonceBytes)};
}

const PeerEntry* find(const std::vector<PeerEntry>& known, const access::NodeClaim& claim) {
  const auto at = std::ranges::find(known, claim.node, &PeerEntry::node);
  if (at == known.end() || !equal_constant_time(at->public_key, claim.public_key)) return nullptr;
  return &*at;
}

Error unknown_node(const NodeId& node) {
  return {"unknown_node",
          "Node " + node.hex().substr(0, 8) + " is not known here, or has a new key",
          "Nothing was changed",
          "Establish the failover relationship, with the inter-appliance key of the other node"};
}

// `key` empty: the acceptor must be among `known`.
net::Task<Result<ProvedLink>> dial(const NodeIdentity& self, net::Address to, LinkPurpose purpose,
                                   std::string key, std::vector<PeerEntry> known,
                                   Instant deadline) {
  Result<Opened> opened = co_await say_hello(to, deadline);
  if (!opened) co_return fail(opened);
  net::Transport& transport = *opened->transport;
  NodeTranscript transcript;
  transcript.exporter = opened->exporter;
  transcript.dialler = own_claim(self);
  transcript.purpose = std::string(word(purpose));
  NodeAuthFrame claim;
  claim.claim = transcript.dialler;
  claim.purpose = transcript.purpose;
  const Result<void> claimed = co_await write_auth(transport, std::move(claim), deadline);
  if (!claimed) co_return fail(claimed);

  const Result<NodeAuthFrame> theirs = co_await read_auth(transport, opened->early, deadline);
  if (!theirs) co_return fail(theirs);
  if (!theirs->claim) co_return fail("bad_message", "The other node does not say who it is");
  transcript.acceptor = *theirs->claim;
  const NodeId node = transcript.acceptor.node;
  const Result<void> proved =
      access::verify_node(NodeDirection::acceptor, transcript, theirs->signature);
  if (!proved) co_return fail(proved);
  if (node == self.node) co_return fail("other_node", to.text() + " is this node itself");
  if (key.empty() && find(known, transcript.acceptor) == nullptr)
    co_return Result<ProvedLink>(std::unexpected(unknown_node(node)));

  NodeAuthFrame proof;
  const Result<std::string> signature =
      access::prove_node(self.key, NodeDirection::dialler, transcript);
  if (!signature) co_return fail(signature);
  proof.signature = *signature;
  ProvedLink out;
  if (!key.empty()) {
    const Result<std::string> by_key = access::prove_key(key, NodeDirection::dialler, transcript);
    if (!by_key) co_return fail(by_key);
    proof.key_proof = *by_key;
    out.key_sha256 = sha256_hex(key);
  }
  const Result<void> sent = co_await write_auth(transport, std::move(proof), deadline);
  if (!sent) co_return fail(sent);
  const Result<NodeAuthFrame> last = co_await read_auth(transport, opened->early, deadline);
  if (!last) co_return fail(last);
  if (!key.empty()) {
    const Result<void> by_key =
        access::verify_key(key, NodeDirection::acceptor, transcript, last->key_proof);
    wipe(key);
    if (!by_key) co_return fail(by_key);
    out.by_key = true;
  }
  out.purpose = purpose;
  out.node = node;
  out.public_key = transcript.acceptor.public_key;
  out.from = to;
  out.transport = std::move(opened->transport);
  out.early = std::move(opened->early);
  co_return out;
}

struct KeyProof {
  std::string own;  // The acceptor's half.
  std::string key_sha256;
};
// A wrong proof costs the key nothing: else every stranger who dials could take it away.
Result<KeyProof> check_key(const NodeFiles& files, const NodeTranscript& transcript,
                           std::string_view proof) {
  Result<std::optional<std::string>> key = files.inter_appliance_key();
  if (!key) return fail(key);
  if (!*key)
    return fail("no_key", "That node has no inter-appliance key, or it was used already",
                "Nothing was changed", "Make one there: `everspan failover key create`");
  const Result<void> held = access::verify_key(**key, NodeDirection::dialler, transcript, proof);
  Result<std::string> own = access::prove_key(**key, NodeDirection::acceptor, transcript);
  std::string digest = sha256_hex(**key);
  wipe(**key);
  if (!held) return fail(held);
  if (!own) return fail(own);
  return KeyProof{std::move(*own), std::move(digest)};
}

net::Task<> refuse(net::Transport& transport, Error why, Instant deadline) {
  std::string bytes = control(access::encode_node_refusal(why));
  const Result<void> sent = co_await net::write_all(transport, std::move(bytes), deadline);
  if (!sent) log_debug("node.refusal_not_sent", {{"why", sent.error().text()}});
  transport.close();
}

}  // namespace

net::Task<Result<ProvedLink>> dial_node(const NodeIdentity& self, PeerEntry to, LinkPurpose purpose,
                                        Instant deadline) {
  std::vector<PeerEntry> known{to};
  Result<ProvedLink> link =
      co_await dial(self, to.address, purpose, std::string(), std::move(known), deadline);
  co_return link;
}

net::Task<Result<ProvedLink>> dial_stranger(const NodeIdentity& self, net::Address to,
                                            std::string key, std::vector<PeerEntry> known,
                                            Instant deadline) {
  Result<ProvedLink> link = co_await dial(self, std::move(to), LinkPurpose::establish,
                                          std::move(key), std::move(known), deadline);
  co_return link;
}

net::Task<Result<NodeId>> node_at(net::Address address, Instant deadline) {
  Result<Opened> opened = co_await say_hello(std::move(address), deadline);
  if (!opened) co_return fail(opened);
  opened->transport->close();
  co_return opened->node;
}

net::Task<Result<ProvedLink>> accept_node(const NodeFiles& files,
                                          std::unique_ptr<net::Transport> connection,
                                          std::string early, Instant deadline) {
  net::Transport& transport = *connection;
  const Result<NodeAuthFrame> theirs = co_await read_auth(transport, early, deadline);
  if (!theirs) co_return fail(theirs);
  if (!theirs->claim) co_return fail("bad_message", "A greeting without a node");
  const auto* const purpose = std::ranges::find_if(
      kPurposes, [&](LinkPurpose each) { return word(each) == theirs->purpose; });
  if (purpose == std::end(kPurposes)) {
    const Error why{"bad_purpose", "This node does not know such a link", "", "Upgrade it first"};
    co_await refuse(transport, why, deadline);
    co_return Result<ProvedLink>(std::unexpected(why));
  }
  // Who is known is asked after the proof: before it the answer is the same to everybody.
  NodeTranscript transcript;
  transcript.exporter = transport.exporter(wire::kExporterLabel, access::kExporterBytes);
  transcript.dialler = *theirs->claim;
  transcript.acceptor = own_claim(files.identity());
  transcript.purpose = theirs->purpose;
  NodeAuthFrame claim;
  claim.claim = transcript.acceptor;
  const Result<std::string> signature =
      access::prove_node(files.identity().key, NodeDirection::acceptor, transcript);
  if (!signature) co_return fail(signature);
  claim.signature = *signature;
  const Result<void> claimed = co_await write_auth(transport, std::move(claim), deadline);
  if (!claimed) co_return fail(claimed);

  const Result<NodeAuthFrame> proof = co_await read_auth(transport, early, deadline);
  if (!proof) co_return fail(proof);
  Result<void> good = access::verify_node(NodeDirection::dialler, transcript, proof->signature);
  ProvedLink out;
  NodeAuthFrame last;
  if (good && transcript.dialler.node == files.identity().node) {
    good = fail("other_node", "This is the node that dialled");
  } else if (good && *purpose == LinkPurpose::establish && !proof->key_proof.empty()) {
    Result<KeyProof> by_key = check_key(files, transcript, proof->key_proof);
    if (by_key) {
      last.key_proof = std::move(by_key->own);
      out.key_sha256 = std::move(by_key->key_sha256);
      out.by_key = true;
    } else {
      good = fail(by_key);
    }
  } else if (good && find(files.peers(), transcript.dialler) == nullptr) {
    good = std::unexpected(unknown_node(transcript.dialler.node));
  }
  if (!good) {
    Error said = good.error();
    // Where it lies and how it is protected is for this node's own log.
    if (said.code == "bad_key_file" || said.code == "io")
      said = {"bad_key_file", "That node's inter-appliance key cannot be used", "",
              "Its log says why"};
    co_await refuse(transport, std::move(said), deadline);
    co_return fail(good);
  }
  const Result<void> sent = co_await write_auth(transport, std::move(last), deadline);
  if (!sent) co_return fail(sent);
  out.purpose = *purpose;
  out.node = transcript.dialler.node;
  out.public_key = transcript.dialler.public_key;
  out.from = transport.peer();
  out.transport = std::move(connection);
  out.early = std::move(early);
  co_return out;
}

}  // namespace everspan::node
