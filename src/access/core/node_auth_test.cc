#include "access/core/node_auth.h"

#include <gtest/gtest.h>

#include <functional>

#include "proto/node_link.pb.h"

namespace everspan::access {
namespace {

NodeAuthFrame whole() {
  NodeAuthFrame frame;
  frame.claim = NodeClaim{random_id<NodeId>(), random_bytes(32), random_bytes(32)};
  frame.purpose = "establish";
  frame.signature = random_bytes(64);
  frame.key_proof = random_bytes(32);
  return frame;
}

pb::NodeAuth message() {
  pb::NodeAuth out;
  EXPECT_TRUE(out.ParseFromString(encode_node_auth(whole())));
  return out;
}

TEST(NodeAuth, IsReadAsItWasWritten) {
  const NodeAuthFrame frame = whole();
  const auto read = decode_node_auth(encode_node_auth(frame));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->claim->node, frame.claim->node);
  EXPECT_EQ(read->claim->public_key, frame.claim->public_key);
  EXPECT_EQ(read->claim->nonce, frame.claim->nonce);
  EXPECT_EQ(read->purpose, frame.purpose);
  EXPECT_EQ(read->signature, frame.signature);
  EXPECT_EQ(read->key_proof, frame.key_proof);
}

TEST(NodeAuth, MayClaimNothing) {
  const auto read = decode_node_auth(encode_node_auth({}));
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->claim);
}

TEST(NodeAuth, WithPartsOfAWrongSizeIsRefused) {
  const auto refused = [](const std::function<void(pb::NodeAuth&)>& change) {
    pb::NodeAuth out = message();
    change(out);
    const auto read = decode_node_auth(out.SerializeAsString());
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, "bad_message");
  };
  refused([](auto& m) { m.set_node_id("short"); });
  refused([](auto& m) { m.clear_node_id(); });
  refused([](auto& m) { m.clear_public_key(); });
  refused([](auto& m) { m.set_public_key(std::string(33, 'k')); });
  refused([](auto& m) { m.set_nonce(std::string(31, 'n')); });
  refused([](auto& m) { m.set_signature(std::string(63, 's')); });
  refused([](auto& m) { m.set_key_proof(std::string(64, 'p')); });
  refused([](auto& m) { m.set_purpose(std::string(33, 'p')); });
}

TEST(NodeAuth, ThatIsNoMessageIsRefused) {
  EXPECT_EQ(decode_node_auth("\xff\xff\xff").error().code, "bad_message");
  EXPECT_EQ(decode_node_auth(std::string("\x0a\x7f") + "short").error().code, "bad_message");
}

TEST(NodeAuth, OfARefusalComesAsItsErrorOnOneLine) {
  const auto read =
      decode_node_auth(encode_node_refusal({"no_key", "gone\n\x1b[2J", "kept", "make one"}));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, "no_key");
  EXPECT_EQ(read.error().message, "gone\\x0a\\x1b[2J");
  EXPECT_EQ(read.error().next, "make one");
  const auto nameless = decode_node_auth(encode_node_refusal({"", std::string(5000, 'm'), "", ""}));
  EXPECT_EQ(nameless.error().code, "refused");
  EXPECT_LT(nameless.error().message.size(), 300U);
}

}  // namespace
}  // namespace everspan::access
