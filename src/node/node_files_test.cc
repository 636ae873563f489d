#include "node/node_files.h"

#include <sys/stat.h>

#include <fstream>

#include "node/testing_nodes.h"

namespace everspan::node {
namespace {

using testing::TemporaryFolder;

struct Files : ::testing::Test {
  TemporaryFolder folder;
  NodeId id = random_id<NodeId>();
  NodeFiles files{folder.path, id};

  NodeFiles opened() {
    NodeFiles out(folder.path, id);
    EXPECT_TRUE(out.open());
    return out;
  }
  static PeerEntry a_peer(const std::string& host = "192.0.2.7") {
    return {random_id<NodeId>(), SigningKey::generate().public_key(), {host, 443}, {1234}};
  }
  void put(const char* name, const std::string& bytes, unsigned mode = 0600) {
    const std::string path = folder.path + "/" + name;
    std::ofstream(path) << bytes;
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  }
  unsigned mode_of(const char* name) {
    struct stat info{};
    EXPECT_EQ(stat((folder.path + "/" + name).c_str(), &info), 0);
    return info.st_mode & 07777;
  }
};

TEST_F(Files, KeepTheKeyThatTheFirstStartMade) {
  ASSERT_TRUE(files.open());
  EXPECT_EQ(mode_of("node.key"), 0600U);
  EXPECT_EQ(opened().identity().key.public_key(), files.identity().key.public_key());
  EXPECT_EQ(opened().identity().node, id);
}

TEST_F(Files, RefuseANodeKeyThatIsMalformedOrOpenToOthersAndLeaveIt) {
  for (const std::string& text : {std::string("zz"), std::string(), std::string(300, 'a')}) {
    put("node.key", text);
    EXPECT_EQ(files.open().error().code, "bad_key_file");
  }
  put("node.key", std::string(64, 'a') + "\n", 0644);
  EXPECT_EQ(files.open().error().code, "bad_key_file");
  EXPECT_FALSE(files.open().error().next.empty());
  ASSERT_EQ(chmod((folder.path + "/node.key").c_str(), 0600), 0);
  EXPECT_TRUE(files.open()) << "nothing was written over it";
}

TEST_F(Files, KeepPeersOverARestart) {
  ASSERT_TRUE(files.open());
  const PeerEntry one = a_peer();
  const PeerEntry other = a_peer("node-b.example");
  ASSERT_TRUE(files.put_peer(one));
  ASSERT_TRUE(files.put_peer(other));
  const NodeFiles again = opened();
  ASSERT_EQ(again.peers().size(), 2U);
  const PeerEntry* found = again.peer(other.node);
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->public_key, other.public_key);
  EXPECT_EQ(found->address, other.address);
  EXPECT_EQ(found->since, other.since);
  EXPECT_EQ(mode_of("peers"), 0600U);
}

TEST_F(Files, HoldOneEntryForANodeAndForgetIt) {
  ASSERT_TRUE(files.open());
  PeerEntry peer = a_peer();
  ASSERT_TRUE(files.put_peer(peer));
  peer.address = {"192.0.2.8", 444};
  ASSERT_TRUE(files.put_peer(peer));
  ASSERT_EQ(opened().peers().size(), 1U);
  EXPECT_EQ(opened().peers()[0].address.host, "192.0.2.8");
  ASSERT_TRUE(files.forget_peer(peer.node));
  EXPECT_TRUE(opened().peers().empty());
  EXPECT_EQ(files.peer(peer.node), nullptr);
}

TEST_F(Files, TakeSoManyPeersAndNoMore) {
  ASSERT_TRUE(files.open());
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(files.put_peer(a_peer()));
  EXPECT_EQ(files.put_peer(a_peer()).error().code, "too_many");
  EXPECT_TRUE(files.put_peer(files.peers().front())) << "one that is known is replaced";
  EXPECT_EQ(opened().peers().size(), 64U);
}

TEST_F(Files, RefusePeersThatCannotBeReadAndLeaveThem) {
  const auto refused = [&](const std::string& bytes) {
    put("peers", bytes);
    EXPECT_EQ(files.open().error().code, "bad_peers");
    EXPECT_EQ(std::filesystem::file_size(folder.path + "/peers"), bytes.size());
  };
  refused("\xff\xff");
  pb::NodePeers peers;
  pb::NodePeer& peer = *peers.add_peers();
  peer.set_node_id(id.raw());
  peer.set_public_key(std::string(31, 'k'));
  peer.set_port(1);
  refused(peers.SerializeAsString());
  peer.set_public_key(std::string(32, 'k'));
  peer.set_port(70'000);
  refused(peers.SerializeAsString());
  peer.set_port(443);
  peer.set_node_id("short");
  refused(peers.SerializeAsString());
}

TEST_F(Files, KeepWhatStoodWhenPeersCannotBeStored) {
  ASSERT_TRUE(files.open());
  ASSERT_TRUE(files.put_peer(a_peer()));
  std::filesystem::create_directory(folder.path + "/peers.new");
  EXPECT_FALSE(files.put_peer(a_peer()));
  EXPECT_EQ(files.peers().size(), 1U) << "what is known is what is stored";
  EXPECT_EQ(opened().peers().size(), 1U);
}

// ---- the inter-appliance key ----

TEST_F(Files, MakeAnInterApplianceKeyOnce) {
  EXPECT_FALSE(*files.inter_appliance_key());
  const auto made = files.make_inter_appliance_key(false);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->size(), 32U);
  EXPECT_EQ(mode_of("inter-appliance.key"), 0600U);
  EXPECT_EQ(**files.inter_appliance_key(), *made);
  EXPECT_EQ(files.make_inter_appliance_key(false).error().code, "exists");
  EXPECT_EQ(**files.inter_appliance_key(), *made);
  const auto other = files.make_inter_appliance_key(true);
  EXPECT_NE(*other, *made);
  EXPECT_EQ(**files.inter_appliance_key(), *other);
}

TEST_F(Files, SpendTheKeyThatWasProvedOnly) {
  const auto made = files.make_inter_appliance_key(false);
  EXPECT_EQ(files.spend_inter_appliance_key("").error().code, "no_key");
  EXPECT_EQ(files.spend_inter_appliance_key(sha256_hex("another")).error().code, "no_key");
  EXPECT_TRUE(files.inter_appliance_key()->has_value());
  ASSERT_TRUE(files.spend_inter_appliance_key(sha256_hex(*made)));
  EXPECT_FALSE(*files.inter_appliance_key());
  EXPECT_EQ(files.spend_inter_appliance_key(sha256_hex(*made)).error().code, "no_key");
}

TEST_F(Files, RefuseAnInterApplianceKeyThatIsOpenToOthersOrOfAWrongLength) {
  const auto made = files.make_inter_appliance_key(false);
  for (const unsigned mode : {0640U, 0604U, 0644U, 0660U}) {
    ASSERT_EQ(chmod(files.inter_appliance_key_path().c_str(), mode), 0);
    EXPECT_EQ(files.inter_appliance_key().error().code, "bad_key_file");
    EXPECT_FALSE(files.spend_inter_appliance_key(sha256_hex(*made)));
  }
  for (const std::string& text :
       {to_base64url(as_bytes(std::string(31, 'k'))), to_base64url(as_bytes(std::string(33, 'k'))),
        std::string(), std::string("not base64 !"), std::string(5000, 'a')}) {
    put("inter-appliance.key", text);
    EXPECT_EQ(files.inter_appliance_key().error().code, "bad_key_file") << text.size();
  }
}

TEST(InterApplianceKey, IsReadWithOrWithoutALineBreak) {
  const std::string key = random_bytes(32);
  const std::string text = to_base64url(as_bytes(key));
  for (const char* end : {"", "\n", "\r\n", " \n"})
    EXPECT_EQ(*parse_inter_appliance_key(text + end), key);
  EXPECT_EQ(parse_inter_appliance_key("x" + text).error().code, "bad_key");
}

}  // namespace
}  // namespace everspan::node
