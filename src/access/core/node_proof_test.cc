#include "access/core/node_proof.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>
#include <vector>

namespace everspan::access {
namespace {

struct NodeProof : testing::Test {
  SigningKey dialler_key = SigningKey::generate();
  SigningKey acceptor_key = SigningKey::generate();
  std::string shared = random_bytes(kInterApplianceKeyBytes);
  NodeTranscript transcript{
      random_bytes(32),
      {random_id<NodeId>(), dialler_key.public_key(), random_bytes(kNodeNonceBytes)},
      {random_id<NodeId>(), acceptor_key.public_key(), random_bytes(kNodeNonceBytes)},
      "control"};

  // Everything that a proof must be bound to, changed one at a time.
  std::vector<std::pair<const char*, NodeTranscript>> others() {
    std::vector<std::pair<const char*, NodeTranscript>> out;
    const auto with = [&](const char* what, const std::function<void(NodeTranscript&)>& change) {
      out.emplace_back(what, transcript);
      change(out.back().second);
    };
    const std::string other_key = SigningKey::generate().public_key();
    with("exporter", [](auto& t) { t.exporter = random_bytes(32); });
    with("purpose", [](auto& t) { t.purpose = "bulk"; });
    with("dialler's id", [](auto& t) { t.dialler.node = random_id<NodeId>(); });
    with("acceptor's id", [](auto& t) { t.acceptor.node = random_id<NodeId>(); });
    with("dialler's nonce", [](auto& t) { t.dialler.nonce = random_bytes(32); });
    with("acceptor's nonce", [](auto& t) { t.acceptor.nonce = random_bytes(32); });
    with("dialler's key", [&](auto& t) { t.dialler.public_key = other_key; });
    with("acceptor's key", [&](auto& t) { t.acceptor.public_key = other_key; });
    with("roles", [](auto& t) { std::swap(t.dialler, t.acceptor); });
    return out;
  }
};

TEST_F(NodeProof, OfBothSidesHolds) {
  const auto dialler = prove_node(dialler_key, NodeDirection::dialler, transcript);
  const auto acceptor = prove_node(acceptor_key, NodeDirection::acceptor, transcript);
  EXPECT_TRUE(verify_node(NodeDirection::dialler, transcript, *dialler));
  EXPECT_TRUE(verify_node(NodeDirection::acceptor, transcript, *acceptor));
}

TEST_F(NodeProof, HoldsForNothingElse) {
  for (const NodeDirection who : {NodeDirection::dialler, NodeDirection::acceptor}) {
    const SigningKey& key = who == NodeDirection::dialler ? dialler_key : acceptor_key;
    const auto proof = prove_node(key, who, transcript);
    for (const auto& [what, other] : others())
      EXPECT_EQ(verify_node(who, other, *proof).error().code, "bad_proof") << what;
  }
}

TEST_F(NodeProof, IsNotTheOtherSidesProof) {
  // The same node on both sides, so that only the direction differs.
  transcript.acceptor = transcript.dialler;
  const auto proof = prove_node(dialler_key, NodeDirection::dialler, transcript);
  EXPECT_TRUE(verify_node(NodeDirection::dialler, transcript, *proof));
  EXPECT_FALSE(verify_node(NodeDirection::acceptor, transcript, *proof));
  const auto by_key = prove_key(shared, NodeDirection::dialler, transcript);
  EXPECT_FALSE(verify_key(shared, NodeDirection::acceptor, transcript, *by_key));
}

TEST_F(NodeProof, ByAnotherNodesKeyIsRefused) {
  const auto proof = prove_node(acceptor_key, NodeDirection::dialler, transcript);
  EXPECT_EQ(verify_node(NodeDirection::dialler, transcript, *proof).error().code, "bad_proof");
  EXPECT_FALSE(verify_node(NodeDirection::dialler, transcript, ""));
  EXPECT_FALSE(verify_node(NodeDirection::dialler, transcript, std::string(64, '\0')));
}

TEST_F(NodeProof, OfTheSharedKeyHoldsForItsOwnConnectionAndNodesOnly) {
  for (const NodeDirection who : {NodeDirection::dialler, NodeDirection::acceptor}) {
    const auto proof = prove_key(shared, who, transcript);
    ASSERT_TRUE(proof);
    EXPECT_EQ(proof->size(), kKeyProofBytes);
    EXPECT_TRUE(verify_key(shared, who, transcript, *proof));
    for (const auto& [what, other] : others())
      EXPECT_EQ(verify_key(shared, who, other, *proof).error().code, "wrong_key") << what;
    EXPECT_EQ(verify_key(random_bytes(32), who, transcript, *proof).error().code, "wrong_key");
    EXPECT_FALSE(verify_key(shared, who, transcript, ""));
    EXPECT_FALSE(verify_key(shared, who, transcript, proof->substr(0, 31)));
  }
}

TEST_F(NodeProof, OfOneKindIsNotOneOfTheOther) {
  const auto proof = prove_node(dialler_key, NodeDirection::dialler, transcript);
  EXPECT_FALSE(verify_key(shared, NodeDirection::dialler, transcript, proof->substr(0, 32)));
}

TEST_F(NodeProof, NeedsTlsAndWholeClaims) {
  const auto refused = [&](const std::function<void(NodeTranscript&)>& change) {
    NodeTranscript other = transcript;
    change(other);
    EXPECT_EQ(prove_node(dialler_key, NodeDirection::dialler, other).error().code, "bad_exporter");
    EXPECT_EQ(prove_key(shared, NodeDirection::dialler, other).error().code, "bad_exporter");
    EXPECT_FALSE(verify_node(NodeDirection::dialler, other, std::string(64, 'x')));
    EXPECT_FALSE(verify_key(shared, NodeDirection::dialler, other, std::string(32, 'x')));
  };
  refused([](auto& t) { t.exporter.clear(); });
  refused([](auto& t) { t.exporter.pop_back(); });
  refused([](auto& t) { t.dialler.public_key += 'x'; });
  refused([](auto& t) { t.acceptor.nonce.pop_back(); });
  refused([](auto& t) { t.purpose.clear(); });
  refused([](auto& t) { t.purpose = std::string(33, 'p'); });
}

TEST_F(NodeProof, OfAShortKeyIsRefused) {
  EXPECT_EQ(prove_key("short", NodeDirection::dialler, transcript).error().code, "wrong_key");
  EXPECT_EQ(prove_key("", NodeDirection::dialler, transcript).error().code, "wrong_key");
}

TEST(KeyFingerprint, IsShownInGroupsOfFour) {
  // SHA-256 of 32 zero bytes: 66687aadf862bd776c8f...
  EXPECT_EQ(key_fingerprint(std::string(32, '\0')), "6668 7aad f862 bd77");
}

// RFC 4231, test cases 1 and 2: the other end may be a release that computes it otherwise.
TEST(HmacSha256, IsTheOneOfTheStandard) {
  const auto hex = [](const std::string& bytes) { return to_hex(as_bytes(bytes)); };
  EXPECT_EQ(hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

}  // namespace
}  // namespace everspan::access
