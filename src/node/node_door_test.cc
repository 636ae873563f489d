// Two nodes greet over real TLS on loopback: who is let in, who is refused, and what it may cost.
#include "node/node_door.h"

#include <sys/stat.h>

#include "node/testing_nodes.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;
using namespace testing;

// ---- known nodes ----

TEST_F(Door, LetsAKnownNodeInForEachPurpose) {
  each_knows_the_other();
  std::size_t count = 0;
  for (const LinkPurpose purpose : {LinkPurpose::control, LinkPurpose::establish}) {
    const auto link = dial(purpose);
    ASSERT_TRUE(link) << link.error().text();
    ASSERT_TRUE(came(++count));
    EXPECT_EQ(link->node, acceptor.id);
    EXPECT_EQ(link->purpose, purpose);
    EXPECT_EQ(links.back().node, dialler.id);
    EXPECT_EQ(links.back().purpose, purpose);
    EXPECT_EQ(links.back().public_key, dialler.files.identity().key.public_key());
    EXPECT_FALSE(links.back().by_key);
  }
  EXPECT_TRUE(refused.empty());
  EXPECT_EQ(door.unproved(), 0U);
}

TEST_F(Door, RefusesAStranger) {
  dialler.knows(acceptor, server.address());
  const auto link = dial();
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, "unknown_node");
  EXPECT_FALSE(link.error().next.empty());
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].why.code, "unknown_node");
  EXPECT_EQ(refused[0].from.host, "127.0.0.1");
}

TEST_F(Door, RefusesAKnownNodesIdWithAnotherKey) {
  each_knows_the_other();
  ASSERT_TRUE(acceptor.files.put_peer(
      {dialler.id, SigningKey::generate().public_key(), {"127.0.0.1", 1}, net::wall_now()}));
  EXPECT_EQ(dial().error().code, "unknown_node");
}

TEST_F(Door, RefusesWhoWasRemoved) {
  each_knows_the_other();
  ASSERT_TRUE(dial());
  ASSERT_TRUE(acceptor.files.forget_peer(dialler.id));
  EXPECT_EQ(dial().error().code, "unknown_node");
}

TEST_F(Door, IsLeftByADiallerThatKnowsAnotherKeyOfTheAcceptor) {
  each_knows_the_other();
  PeerEntry wrong = peer();
  wrong.public_key = SigningKey::generate().public_key();
  const auto link =
      run_task(loop, dial_node(dialler.files.identity(), wrong, LinkPurpose::control, soon()));
  EXPECT_EQ(link.error().code, "unknown_node");
  EXPECT_TRUE(all_left());
  EXPECT_TRUE(links.empty());
}

TEST_F(Door, IsNotDialledByItsOwnNode) {
  acceptor.knows(acceptor, server.address());
  const auto link =
      run_task(loop, dial_node(acceptor.files.identity(), peer(), LinkPurpose::control, soon()));
  EXPECT_EQ(link.error().code, "other_node");
  EXPECT_TRUE(all_left());
  EXPECT_TRUE(links.empty());
}

TEST_F(Door, SaysWhoIsHereToWhoOnlyLooks) {
  const auto node = run_task(loop, node_at(server.address(), soon()));
  ASSERT_TRUE(node);
  EXPECT_EQ(*node, acceptor.id);
  EXPECT_TRUE(all_left());
  EXPECT_TRUE(refused.empty());
}

// ---- the inter-appliance key ----

TEST_F(Door, LetsAStrangerInWithTheKeyAndTheKeyIsSpentOnce) {
  const auto key = acceptor.files.make_inter_appliance_key(false);
  ASSERT_TRUE(key);
  const auto link = establish(*key);
  ASSERT_TRUE(link) << link.error().text();
  ASSERT_TRUE(came(1));
  EXPECT_TRUE(link->by_key);
  EXPECT_EQ(link->public_key, acceptor.files.identity().key.public_key());
  EXPECT_TRUE(links[0].by_key);
  EXPECT_EQ(links[0].key_sha256, sha256_hex(*key));
  ASSERT_TRUE(acceptor.files.spend_inter_appliance_key(links[0].key_sha256));
  EXPECT_EQ(acceptor.files.spend_inter_appliance_key(links[0].key_sha256).error().code, "no_key");
  EXPECT_EQ(establish(*key).error().code, "no_key");
}

TEST_F(Door, RefusesAWrongKeyAndKeepsItsOwn) {
  const auto key = acceptor.files.make_inter_appliance_key(false);
  const auto link = establish(random_bytes(32));
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, "wrong_key");
  EXPECT_TRUE(links.empty());
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].why.code, "wrong_key");
  EXPECT_TRUE(establish(*key)) << "a stranger cannot take the key away";
}

TEST_F(Door, RefusesAKeyThatOthersCanRead) {
  const auto key = acceptor.files.make_inter_appliance_key(false);
  ASSERT_EQ(chmod(acceptor.files.inter_appliance_key_path().c_str(), 0640), 0);
  const auto link = establish(*key);
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, "bad_key_file");
  EXPECT_EQ(link.error().message.find('/'), std::string::npos) << "a stranger learns no path";
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_NE(refused[0].why.message.find("/inter-appliance.key"), std::string::npos);
}

TEST_F(Door, TakesTheKeyForNothingButEstablishing) {
  const auto key = acceptor.files.make_inter_appliance_key(false);
  dialler.knows(acceptor, server.address());
  EXPECT_EQ(dial(LinkPurpose::control).error().code, "unknown_node");
}

TEST_F(Door, LetsAKnownNodeEstablishWithoutAKey) {
  each_knows_the_other();
  const auto link = establish("");
  ASSERT_TRUE(link) << link.error().text();
  EXPECT_FALSE(link->by_key);
}

// ---- releases, bounds, deadlines ----

net::Task<Result<pb::HelloReply>> greet_with(net::Address to, std::string bytes) {
  Result<TransportPointer> link = co_await connect(std::move(to));
  if (!link) co_return fail(link);
  const Result<void> sent = co_await net::write_all(**link, std::move(bytes), soon());
  if (!sent) co_return fail(sent);
  std::string early;
  const Result<std::string> reply =
      co_await net::read_control(**link, early, wire::kHelloBytesMax, soon());
  if (!reply) co_return fail(reply);
  pb::LinkMessage message;
  if (!message.ParseFromString(*reply)) co_return fail("bad_message", "no reply");
  co_return message.hello_reply();
}

TEST_F(Door, SaysSoToAReleaseThatSpeaksNoCommonProtocol) {
  const auto newer = run_task(
      loop, greet_with(server.address(),
                       hello(pb::Hello::KIND_PEER, wire::kWireMax + 1, wire::kWireMax + 7)));
  ASSERT_TRUE(newer);
  EXPECT_EQ(newer->refuse().code(), "wire_range");
  EXPECT_NE(newer->refuse().message().find("9.9.9"), std::string::npos);
}

TEST_F(Door, SpeaksTheNewestProtocolThatBothKnow) {
  const auto older =
      run_task(loop, greet_with(server.address(), hello(pb::Hello::KIND_PEER, 1, wire::kWireMin)));
  EXPECT_EQ(older->wire(), wire::kWireMin);
  const auto newer =
      run_task(loop, greet_with(server.address(),
                                hello(pb::Hello::KIND_PEER, wire::kWireMin, wire::kWireMax + 9)));
  EXPECT_EQ(newer->wire(), wire::kWireMax);
  EXPECT_FALSE(newer->has_refuse());
}

TEST_F(Door, LetsNobodyInButNodes) {
  for (const auto kind : {pb::Hello::KIND_AGENT, pb::Hello::KIND_LEG}) {
    const auto reply = run_task(loop, greet_with(server.address(), hello(kind)));
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->refuse().code(), "joining");
  }
  EXPECT_TRUE(all_left());
}

TEST_F(Door, ClosesOnWhatIsTooLongOrNoGreeting) {
  std::string long_frame;
  put_u32(long_frame, 17 * 1024);
  long_frame += '\0';
  for (const std::string& bytes :
       {long_frame, std::string(64, '\xff'), control("\xff\xff"),
        hello(pb::Hello::KIND_PEER).substr(0, 7) + std::string(40'000, 'x')}) {
    EXPECT_FALSE(run_task(loop, greet_with(server.address(), bytes)));
  }
  EXPECT_TRUE(all_left());
  EXPECT_TRUE(links.empty());
}

net::Task<std::string> accept_silent(const NodeFiles* files, Server* server) {
  Result<TransportPointer> link = co_await server->accept();
  if (!link) co_return link.error().code;
  const Result<ProvedLink> proved =
      co_await accept_node(*files, std::move(*link), std::string(), net::now() + 50ms);
  co_return proved ? "" : proved.error().code;
}

TEST_F(Door, WaitsForNoOneLongerThanItsDeadline) {
  Server other;
  std::optional<std::string> code;
  scope.spawn("silent", net::testing::store_result(accept_silent(&acceptor.files, &other), code));
  const auto link = run_task(loop, connect(other.address()));
  ASSERT_TRUE(link);
  EXPECT_TRUE(run_until(loop, [&] { return code.has_value(); }));
  EXPECT_EQ(*code, "timeout");
}

TEST_F(Door, OfADeadAddressIsGivenUpAtTheDeadline) {
  Server other;  // Its backlog takes the connection; nobody shakes hands.
  PeerEntry dead = peer();
  dead.address = other.address();
  const auto link = run_task(
      loop, dial_node(dialler.files.identity(), dead, LinkPurpose::control, net::now() + 50ms));
  EXPECT_EQ(link.error().code, "timeout");
}

TEST_F(Door, HasABudgetForThoseWhoDoNotProveThemselves) {
  std::vector<TransportPointer> idle;
  for (std::size_t i = 0; i < 4; ++i) {
    auto link = run_task(loop, connect(server.address()));
    ASSERT_TRUE(link);
    idle.push_back(std::move(*link));
    ASSERT_TRUE(run_until(loop, [&] { return door.unproved() == i + 1; }));
  }
  EXPECT_FALSE(run_task(loop, greet_with(server.address(), hello(pb::Hello::KIND_PEER))));
  ASSERT_EQ(refused.size(), 1U);
  EXPECT_EQ(refused[0].why.code, "busy");
  // But where a known node lives there is room.
  each_knows_the_other();
  EXPECT_TRUE(dial());
  idle.clear();
  EXPECT_TRUE(all_left());
}

TEST_F(Door, TellsOfAFewRefusalsOnly) {
  dialler.knows(acceptor, server.address());
  for (int i = 0; i < 25; ++i) EXPECT_EQ(dial().error().code, "unknown_node");
  EXPECT_EQ(refused.size(), GreetingBudget::Limits{}.told_most);
}

}  // namespace
}  // namespace everspan::node
