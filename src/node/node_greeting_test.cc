// Who attacks the greeting by hand over real TLS: proofs replayed, moved, passed on or missing.
#include "node/testing_nodes.h"

namespace everspan::node {
namespace {

using namespace testing;

using access::NodeAuthFrame;
using access::NodeClaim;
using access::NodeDirection;
using access::NodeTranscript;

// ---- by hand ----

// Says Hello and a claim; leaves `exchange` with both claims and what the acceptor signed.
struct Exchange {
  TransportPointer link;
  std::string early;
  NodeTranscript transcript;
  std::string acceptors_signature;
};
net::Task<Result<Exchange>> begin(net::Address to, NodeClaim claim, std::string purpose) {
  Exchange out;
  Result<TransportPointer> link = co_await connect(std::move(to));
  if (!link) co_return fail(link);
  out.link = std::move(*link);
  NodeAuthFrame frame;
  frame.claim = claim;
  frame.purpose = purpose;
  std::string bytes = hello(pb::Hello::KIND_PEER) + control(access::encode_node_auth(frame));
  const Result<void> sent = co_await net::write_all(*out.link, std::move(bytes), soon());
  if (!sent) co_return fail(sent);
  for (int i = 0; i < 2; ++i) {
    const Result<std::string> reply =
        co_await net::read_control(*out.link, out.early, wire::kHelloBytesMax, soon());
    if (!reply) co_return fail(reply);
    if (i == 0) continue;
    const Result<NodeAuthFrame> theirs = access::decode_node_auth(*reply);
    if (!theirs) co_return fail(theirs);
    out.transcript = {exporter_of(*out.link), claim, *theirs->claim, purpose};
    out.acceptors_signature = theirs->signature;
  }
  co_return out;
}
// What the acceptor says to this proof.
net::Task<Result<void>> finish(Exchange* exchange, NodeAuthFrame proof) {
  std::string bytes = control(access::encode_node_auth(proof));
  const Result<void> sent = co_await net::write_all(*exchange->link, std::move(bytes), soon());
  if (!sent) co_return fail(sent);
  const Result<std::string> last =
      co_await net::read_control(*exchange->link, exchange->early, wire::kHelloBytesMax, soon());
  if (!last) co_return fail(last);
  const Result<NodeAuthFrame> read = access::decode_node_auth(*last);
  if (!read) co_return fail(read);
  co_return Result<void>();
}

struct DoorByHand : Door {
  DoorByHand() { each_knows_the_other(); }
  NodeClaim claim{dialler.id, dialler.files.identity().key.public_key(), random_bytes(32)};
  std::string sign(const NodeTranscript& transcript) {
    return *prove_node(dialler.files.identity().key, NodeDirection::dialler, transcript);
  }
  Result<void> answer_to(Exchange& exchange, std::string signature) {
    NodeAuthFrame proof;
    proof.signature = std::move(signature);
    return run_task(loop, finish(&exchange, proof));
  }
};

TEST_F(DoorByHand, TakesAnHonestProof) {
  auto exchange = run_task(loop, begin(server.address(), claim, "control"));
  ASSERT_TRUE(exchange) << exchange.error().text();
  EXPECT_TRUE(
      verify_node(NodeDirection::acceptor, exchange->transcript, exchange->acceptors_signature));
  EXPECT_TRUE(answer_to(*exchange, sign(exchange->transcript)));
  EXPECT_TRUE(came(1));
}

// A true proof of one connection, shown on another one with the very same claim.
TEST_F(DoorByHand, RefusesAProofThatIsReplayedOnAnotherConnection) {
  auto first = run_task(loop, begin(server.address(), claim, "control"));
  auto second = run_task(loop, begin(server.address(), claim, "control"));
  ASSERT_TRUE(first && second);
  const std::string proof = sign(first->transcript);
  EXPECT_EQ(answer_to(*second, proof).error().code, "bad_proof");
  EXPECT_TRUE(answer_to(*first, proof));
  EXPECT_TRUE(came(1));
}

TEST_F(DoorByHand, RefusesAProofForAnotherPurpose) {
  auto exchange = run_task(loop, begin(server.address(), claim, "establish"));
  ASSERT_TRUE(exchange);
  NodeTranscript other = exchange->transcript;
  other.purpose = "control";
  EXPECT_EQ(answer_to(*exchange, sign(other)).error().code, "bad_proof");
}

TEST_F(DoorByHand, RefusesItsOwnSignatureSentBack) {
  claim = {acceptor.id, acceptor.files.identity().key.public_key(), random_bytes(32)};
  auto exchange = run_task(loop, begin(server.address(), claim, "control"));
  ASSERT_TRUE(exchange);
  EXPECT_EQ(answer_to(*exchange, exchange->acceptors_signature).error().code, "bad_proof");
}

TEST_F(DoorByHand, RefusesAClaimWithoutAProof) {
  auto exchange = run_task(loop, begin(server.address(), claim, "control"));
  ASSERT_TRUE(exchange);
  EXPECT_EQ(answer_to(*exchange, "").error().code, "bad_proof");
}

TEST_F(DoorByHand, RefusesAPurposeItDoesNotKnow) {
  const auto exchange = run_task(loop, begin(server.address(), claim, "witness"));
  EXPECT_EQ(exchange.error().code, "bad_purpose");
}

// ---- between the two ----

net::Task<> pass_on(net::Transport* from, net::Transport* to, std::string first) {
  std::string bytes = std::move(first);
  for (;;) {
    if (!bytes.empty()) {
      const Result<void> sent = co_await net::write_all(*to, std::move(bytes), soon());
      if (!sent) co_return;
    }
    Result<std::string> more = co_await net::read_some(*from, 64 * 1024, soon());
    if (!more || more->empty()) {
      to->send_close();
      co_return;
    }
    bytes = std::move(*more);
  }
}
struct Between {
  Server server;
  TransportPointer to_dialler;
  TransportPointer to_acceptor;
};
net::Task<> stand_between(Between* between, net::TaskScope* scope, net::Address acceptor) {
  Result<TransportPointer> one = co_await between->server.accept();
  Result<TransportPointer> other = co_await connect(std::move(acceptor));
  if (!one || !other) co_return;
  between->to_dialler = std::move(*one);
  between->to_acceptor = std::move(*other);
  scope->spawn("there", pass_on(between->to_dialler.get(), between->to_acceptor.get(), {}));
  scope->spawn("back", pass_on(between->to_acceptor.get(), between->to_dialler.get(), {}));
}

TEST_F(Door, IsNotOpenedByWhoPassesEveryByteOnBetweenTwoConnections) {
  each_knows_the_other();
  Between between;
  scope.spawn("between", stand_between(&between, &scope, server.address()));
  PeerEntry through = peer();
  through.address = between.server.address();
  const auto link =
      run_task(loop, dial_node(dialler.files.identity(), through, LinkPurpose::control, soon()));
  EXPECT_EQ(link.error().code, "bad_proof");
  EXPECT_TRUE(all_left());
  EXPECT_TRUE(links.empty());
  EXPECT_TRUE(stop(loop, scope));
}

// Who answers without the key has nothing to show for it, whoever it says it is.
net::Task<> answer_without_key(Server* server, const NodeIdentity* self, std::string* key_proof) {
  Result<TransportPointer> link = co_await server->accept();
  if (!link) co_return;
  std::string early;
  std::string reply = hello_reply(self->node);
  NodeAuthFrame own;
  own.claim = NodeClaim{self->node, self->key.public_key(), random_bytes(32)};
  for (int i = 0; i < 3; ++i) {
    const Result<std::string> bytes =
        co_await net::read_control(**link, early, wire::kHelloBytesMax, soon());
    if (!bytes) co_return;
    if (i == 1) {
      const Result<NodeAuthFrame> theirs = access::decode_node_auth(*bytes);
      const NodeTranscript transcript{exporter_of(**link), *theirs->claim, *own.claim,
                                      theirs->purpose};
      own.signature = *prove_node(self->key, NodeDirection::acceptor, transcript);
      reply = control(access::encode_node_auth(own));
    } else if (i == 2) {
      // The dialler's proof is all that it was given: sent back.
      NodeAuthFrame last;
      last.key_proof =
          key_proof->empty() ? access::decode_node_auth(*bytes)->key_proof : *key_proof;
      reply = control(access::encode_node_auth(last));
    }
    const Result<void> sent = co_await net::write_all(**link, reply, soon());
    if (!sent) co_return;
  }
  co_await net::wait_readable((*link)->fd(), soon());
}

TEST_F(Door, OfAnImpostorWithoutTheKeyIsNotBelieved) {
  for (std::string key_proof : {std::string(), random_bytes(32)}) {
    Server impostor;
    scope.spawn("impostor", answer_without_key(&impostor, &acceptor.files.identity(), &key_proof));
    const auto link = run_task(loop, dial_stranger(dialler.files.identity(), impostor.address(),
                                                   random_bytes(32), {}, soon()));
    ASSERT_FALSE(link);
    EXPECT_EQ(link.error().code, "wrong_key");
    EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 1; }));
  }
}

}  // namespace
}  // namespace everspan::node
