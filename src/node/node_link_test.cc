// Two ends of a proved link over real TLS on loopback.
#include "node/node_link.h"

#include <sys/socket.h>

#include <functional>
#include <thread>

#include "node/testing_nodes.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;
using namespace testing;

struct Heard : NodeLink::Events {
  void on_message(NodeLink&, pb::NodeMessage& message) override {
    messages.push_back(std::move(message));
    if (then) then();
  }
  void on_closed(NodeLink&, const Error& why) override { closed.push_back(why); }
  std::vector<pb::NodeMessage> messages;
  std::vector<Error> closed;
  std::function<void()> then;
};

net::Task<> keep(NodeLink* link) {
  co_await link->run();
}
net::Task<> accept_into(Server* server, TransportPointer* out) {
  Result<TransportPointer> link = co_await server->accept();
  if (link) *out = std::move(*link);
}

struct Link : ::testing::Test {
  Link() {
    scope.spawn("accept", accept_into(&server, &there));
    auto link = run_task(loop, connect(server.address()));
    EXPECT_TRUE(link);
    here = std::move(*link);
    EXPECT_TRUE(run_until(loop, [&] { return there != nullptr; }));
  }
  ~Link() override { EXPECT_TRUE(stop(loop, scope)); }
  std::unique_ptr<NodeLink> start(TransportPointer transport, Heard& heard,
                                  NodeLink::Timing timing = {}, std::string early = {}) {
    ProvedLink proved;
    proved.transport = std::move(transport);
    proved.early = std::move(early);
    auto link = std::make_unique<NodeLink>(loop.get_executor(), std::move(proved), heard, timing);
    scope.spawn("link", keep(link.get()));
    return link;
  }
  void start_both(NodeLink::Timing timing = {}) {
    a = start(std::move(here), heard_a, timing);
    b = start(std::move(there), heard_b, timing);
  }
  void write(net::Transport& to, std::string bytes) {
    EXPECT_TRUE(run_task(loop, net::write_all(to, std::move(bytes), soon())));
  }

  net::asio::io_context loop;
  Server server;
  TransportPointer here;
  TransportPointer there;
  Heard heard_a;
  Heard heard_b;
  int turns = 0;  // Of a task that may outlive the test's body.
  std::unique_ptr<NodeLink> a;
  std::unique_ptr<NodeLink> b;
  net::TaskScope scope{loop.get_executor()};
};

pb::NodeMessage call(std::uint64_t id, std::string body = {}) {
  pb::NodeMessage message;
  message.mutable_call()->set_id(id);
  message.mutable_call()->set_body(std::move(body));
  return message;
}
std::string framed(const pb::NodeMessage& message) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(message.ByteSizeLong()));
  message.AppendToString(&out);
  return out;
}
// As long as a message may be.
pb::NodeMessage longest() {
  pb::NodeMessage message = call(1, std::string(kNodeMessageBytesMax - 64, 'x'));
  const std::size_t rest = kNodeMessageBytesMax - message.ByteSizeLong();
  message.mutable_call()->set_what(std::string(rest - 2, 'w'));
  EXPECT_EQ(message.ByteSizeLong(), kNodeMessageBytesMax);
  return message;
}

TEST_F(Link, CarriesMessagesOfEverySizeInOrderBothWays) {
  start_both();
  for (std::uint64_t i = 0; i < 300; ++i) {
    a->send(call(i, std::string(i * 997 % 70'000, 'a')));
    b->send(call(i, std::string(i * 331 % 9'000, 'b')));
  }
  a->send(longest());
  ASSERT_TRUE(run_until(
      loop, [&] { return heard_b.messages.size() == 301 && heard_a.messages.size() == 300; }));
  for (std::uint64_t i = 0; i < 300; ++i) {
    ASSERT_EQ(heard_b.messages[i].call().id(), i);
    ASSERT_EQ(heard_b.messages[i].call().body().size(), i * 997 % 70'000);
    ASSERT_EQ(heard_a.messages[i].call().id(), i);
  }
  EXPECT_EQ(heard_b.messages[300].ByteSizeLong(), kNodeMessageBytesMax);
  EXPECT_TRUE(run_until(loop, [&] { return a->pending_bytes() == 0 && b->pending_bytes() == 0; }));
  EXPECT_TRUE(heard_a.closed.empty());
}

TEST_F(Link, BeginsWithWhatWasReadBehindTheGreeting) {
  const std::string both = framed(call(1)) + framed(call(2));
  b = start(std::move(there), heard_b, {}, both.substr(0, both.size() - 1));
  write(*here, both.substr(both.size() - 1));
  ASSERT_TRUE(run_until(loop, [&] { return heard_b.messages.size() == 2; }));
  EXPECT_EQ(heard_b.messages[1].call().id(), 2U);
}

TEST_F(Link, StaysWhileBothSidesBeatAndSayNothing) {
  start_both({.heartbeat = 5ms, .silent_max = 3});
  const Instant until = net::now() + 200ms;
  EXPECT_TRUE(run_until(loop, [&] { return net::now() >= until; }));
  EXPECT_TRUE(heard_a.closed.empty());
  EXPECT_TRUE(heard_b.closed.empty());
  EXPECT_TRUE(heard_a.messages.empty()) << "heartbeats are the link's own";
}

TEST_F(Link, ClosesOnceWhenTheOtherSideFallsSilent) {
  a = start(std::move(here), heard_a, {.heartbeat = 10ms, .silent_max = 3});
  ASSERT_TRUE(run_until(loop, [&] { return !heard_a.closed.empty(); }));
  EXPECT_EQ(heard_a.closed[0].code, "silent");
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  EXPECT_EQ(heard_a.closed.size(), 1U);
}

// A process that did not run for a while has not heard what waits in its sockets: that is not the
// other side's silence.
TEST_F(Link, SurvivesAPauseOfTheProcess) {
  start_both({.heartbeat = 10ms, .silent_max = 3});
  for (std::uint64_t round = 1; round <= 3; ++round) {
    // lint: allow sleep because the pause itself is what is tested
    std::this_thread::sleep_for(100ms);
    a->send(call(round));
    ASSERT_TRUE(run_until(loop, [&] { return heard_b.messages.size() == round; }));
  }
  EXPECT_TRUE(heard_a.closed.empty());
  EXPECT_TRUE(heard_b.closed.empty());
}

TEST_F(Link, ClosedInOrderSaysSo) {
  start_both();
  a->close();
  ASSERT_TRUE(run_until(loop, [&] { return !heard_b.closed.empty(); }));
  EXPECT_EQ(heard_b.closed[0].code, "closed");
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  EXPECT_TRUE(heard_a.closed.empty()) << "who closes it is not told";
}

TEST_F(Link, FinishesAfterWhatIsQueuedHasGone) {
  start_both();
  for (std::uint64_t i = 0; i < 20; ++i) a->send(call(i, std::string(500'000, 'x')));
  a->finish(10s);
  a->send(call(99));  // Too late.
  ASSERT_TRUE(run_until(loop, [&] { return !heard_b.closed.empty(); }));
  EXPECT_EQ(heard_b.closed[0].code, "closed");
  EXPECT_EQ(heard_b.messages.size(), 20U);
  EXPECT_TRUE(heard_a.closed.empty());
}

TEST_F(Link, FinishesInTimeThoughTheOtherSideReadsNothing) {
  a = start(std::move(here), heard_a);
  for (int i = 0; i < 8; ++i) a->send(call(1, std::string(4'000'000, 'x')));
  a->finish(30ms);
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  EXPECT_TRUE(heard_a.closed.empty());
}

TEST_F(Link, ClosesOnAMessageLongerThanAllowedBeforeItsBytesCame) {
  b = start(std::move(there), heard_b);
  std::string bytes;
  put_u32(bytes, kNodeMessageBytesMax + 1);
  write(*here, bytes);
  ASSERT_TRUE(run_until(loop, [&] { return !heard_b.closed.empty(); }));
  EXPECT_EQ(heard_b.closed[0].code, "bad_message");
}

TEST_F(Link, ClosesOnAMessageThatCannotBeRead) {
  b = start(std::move(there), heard_b);
  std::string bytes = framed(call(7));
  put_u32(bytes, 3);
  bytes += "\xff\xff\xff";
  bytes += framed(call(8));
  write(*here, bytes);
  ASSERT_TRUE(run_until(loop, [&] { return !heard_b.closed.empty(); }));
  EXPECT_EQ(heard_b.closed[0].code, "bad_message");
  EXPECT_EQ(heard_b.messages.size(), 1U) << "what came whole before it was heard";
}

TEST_F(Link, ThatIsCutIsNoOrderlyEnd) {
  b = start(std::move(there), heard_b);
  // The end of TCP without TLS's closing word, in the middle of a message.
  write(*here, framed(call(1, std::string(1000, 'x'))).substr(0, 500));
  ASSERT_EQ(shutdown(here->fd(), SHUT_WR), 0);
  ASSERT_TRUE(run_until(loop, [&] { return !heard_b.closed.empty(); }));
  EXPECT_EQ(heard_b.closed[0].code, "cut");
  EXPECT_TRUE(heard_b.messages.empty());
}

TEST_F(Link, DoesNotQueueWithoutEndForWhoReadsNothing) {
  a = start(std::move(here), heard_a);
  const pb::NodeMessage message = call(1, std::string(4'000'000, 'x'));
  for (int i = 0; i < 40; ++i) a->send(message);
  EXPECT_LE(a->pending_bytes(), NodeLink::kHighWater + kNodeMessageBytesMax + 4);
  ASSERT_TRUE(run_until(loop, [&] { return !heard_a.closed.empty(); }));
  EXPECT_EQ(heard_a.closed[0].code, "slow_peer");
}

TEST_F(Link, RefusesAnAnswerThatIsTooLongAndGoesOn) {
  start_both();
  pb::NodeMessage answer;
  answer.mutable_call_reply()->set_id(5);
  answer.mutable_call_reply()->set_body(std::string(kNodeMessageBytesMax, 'x'));
  a->send(answer);
  a->send(call(6));
  ASSERT_TRUE(run_until(loop, [&] { return heard_b.messages.size() == 2; }));
  EXPECT_EQ(heard_b.messages[0].call_reply().id(), 5U);
  EXPECT_EQ(heard_b.messages[0].call_reply().code(), "too_long");
  EXPECT_EQ(heard_b.messages[1].call().id(), 6U);
}

TEST_F(Link, EndsRatherThanDropAMessageThatIsTooLong) {
  start_both();
  a->send(call(1, std::string(kNodeMessageBytesMax, 'x')));
  ASSERT_TRUE(run_until(loop, [&] { return !heard_a.closed.empty(); }));
  EXPECT_EQ(heard_a.closed[0].code, "too_long");
  EXPECT_TRUE(heard_b.messages.empty());
}

TEST_F(Link, HearsNothingMoreAfterItWasClosedInAMessage) {
  start_both();
  heard_b.then = [&] { b->close(); };
  for (std::uint64_t i = 0; i < 10; ++i) a->send(call(i));
  ASSERT_TRUE(run_until(loop, [&] { return !heard_a.closed.empty(); }));
  EXPECT_EQ(heard_b.messages.size(), 1U);
  EXPECT_TRUE(heard_b.closed.empty());
}

net::Task<> count_turns(int* turns, const Heard* heard) {
  while (heard->messages.size() < 60) {
    const bool waited = co_await net::sleep_for(Duration::zero());
    if (!waited) co_return;
    ++*turns;
  }
}

// A side that sends as fast as it can leaves others on the executor their turn.
TEST_F(Link, LeavesOthersTheirTurnWhileMuchComes) {
  start_both();
  for (std::uint64_t i = 0; i < 60; ++i) a->send(call(i, std::string(1'000'000, 'x')));
  scope.spawn("turns", count_turns(&turns, &heard_b));
  ASSERT_TRUE(run_until(loop, [&] { return heard_b.messages.size() == 60; }));
  EXPECT_GT(turns, 20);
}

TEST(NextNodeMessage, WaitsForAWholeOneAndTakesAnEmptyOne) {
  std::size_t size = 0;
  EXPECT_FALSE(*next_node_message("", size));
  EXPECT_FALSE(*next_node_message(std::string_view("\0\0\0", 3), size));
  EXPECT_FALSE(*next_node_message(std::string_view("\0\0\0\2x", 5), size));
  EXPECT_EQ(**next_node_message(std::string_view("\0\0\0\2xyz", 7), size), "xy");
  EXPECT_EQ(size, 6U);
  EXPECT_EQ(**next_node_message(std::string_view("\0\0\0\0z", 5), size), "");
  EXPECT_EQ(size, 4U);
  EXPECT_EQ(next_node_message("\xff\xff\xff\xff", size).error().code, "bad_message");
}

}  // namespace
}  // namespace everspan::node
