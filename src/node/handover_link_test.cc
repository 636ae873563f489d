// Two site processes of one node, in one process: what one asks over the hand-over socket the other
// answers.
#include "node/handover_link.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <future>

#include "common/crypto.h"
#include "net/io_threads.h"
#include "net/testing_run.h"
#include "node/live_service.h"
#include "proto/handover.pb.h"

namespace everspan::node {
namespace {

using net::testing::run_task;
using net::testing::soon;

// An id is any 16 bytes; as text these are not UTF-8.
template <class IdType>
IdType odd_id(std::uint8_t last) {
  IdType id;
  id.bytes.fill(0xfe);
  id.bytes.back() = last;
  return id;
}

class Process : public HandoverLink::Events {
 public:
  Process(net::Executor executor, net::Fd socket, store::Journal& journal)
      : live({executor, view, journal, NodeId{}, [] { return std::vector<net::Address>(); }, {}}),
        link(executor, std::move(socket), *this),
        tasks(executor) {
    tasks.spawn("link", link.run());
  }
  void on_peer_hello(const pb::HandoverHello&) override {}
  void on_forwarded_write(std::uint64_t, std::string) override {}
  void on_peer_serving(Generation, Revision) override {}
  bool on_push_open(EndpointId, std::string) override { return false; }
  void fill_snapshot(pb::SnapshotReply& reply) override { live.fill_reply(here, reply); }
  void on_move_progress(const Moves&) override {}
  void on_handover_closed() override {}

  SiteView view;
  LiveNode live;
  relay::RelaySnapshot here;
  HandoverLink link;
  net::TaskScope tasks;
};

class TwoProcesses : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_);
    store::Journal::Options options;
    options.dir = folder_ + "/journal";
    options.now = [] { return net::wall_now(); };
    auto journal = store::Journal::open(std::move(options));
    ASSERT_TRUE(journal) << journal.error().text();
    journal_ = std::move(*journal);
    auto ends = net::MessageSocket::pair();
    ASSERT_TRUE(ends);
    asks_.emplace(loop_.get_executor(), ends->first.release(), *journal_);
    answers_.emplace(loop_.get_executor(), ends->second.release(), *journal_);
    relay_.emplace(io_, asks_->live, nullptr);
    asks_->live.set_relay(&*relay_);
    asks_->live.set_peer(&asks_->link);
  }
  void TearDown() override {
    for (Process* process : {&*asks_, &*answers_}) {
      process->tasks.cancel();
      run_task(loop_, joined(process->tasks));
    }
    std::promise<void> closed;
    relay_->shutdown([&closed] { closed.set_value(); });
    closed.get_future().wait();
    io_.stop();
    relay_.reset();
    asks_.reset();
    answers_.reset();
    journal_.reset();
    std::filesystem::remove_all(folder_);
  }
  static net::Task<bool> joined(net::TaskScope& tasks) {
    co_await tasks.join();
    co_return true;
  }
  void add_session(const SessionId& session, const EndpointId& endpoint) {
    relay::SessionInfoRow row;
    row.session = session;
    row.endpoint = endpoint;
    row.person = "maria";
    row.console.here = true;
    row.console.address = "127.0.0.1:50000";
    row.console.release = "0.2.0";
    row.agent = row.console;
    answers_->here.sessions.push_back(row);
  }

  const std::string folder_ =
      std::filesystem::temp_directory_path() / ("link-" + random_id<NodeId>().hex().substr(0, 8));
  net::asio::io_context loop_;
  net::IoThreads io_{1};
  std::unique_ptr<store::Journal> journal_;
  std::optional<Process> asks_;
  std::optional<Process> answers_;
  std::optional<relay::Relay> relay_;
};

TEST_F(TwoProcesses, a_list_shows_what_the_other_process_carries_whatever_bytes_its_ids_have) {
  const auto session = odd_id<SessionId>(1);
  const auto endpoint = odd_id<EndpointId>(2);
  add_session(session, endpoint);
  relay::AgentInfo agent;
  agent.endpoint = endpoint;
  answers_->here.agents.push_back(agent);
  const auto live = run_task(loop_, asks_->live.snapshot());
  ASSERT_TRUE(live);
  ASSERT_EQ(live->sessions.size(), 1U);
  EXPECT_EQ(live->sessions[0].id, session);
  EXPECT_TRUE(live->sessions[0].console);
  EXPECT_TRUE(live->sessions[0].agent);
  ASSERT_EQ(live->agents.size(), 1U);
  EXPECT_EQ(live->agents[0].endpoint, endpoint);
  EXPECT_EQ(live->clients.size(), 2U);
}

TEST_F(TwoProcesses, a_list_of_more_than_fits_into_a_message_comes_whole) {
  for (int i = 0; i < 2000; ++i) add_session(random_id<SessionId>(), odd_id<EndpointId>(1));
  const auto reply = run_task(loop_, asks_->link.snapshot(soon()));
  ASSERT_NE(reply, nullptr);
  EXPECT_EQ(reply->clients_size(), 4000);
  EXPECT_GT(reply->ByteSizeLong(), net::kMessageBytesMax);
}

TEST_F(TwoProcesses, an_endpoint_s_id_as_0_1_0_says_it_is_understood) {
  pb::ClientSnapshot said;
  said.set_endpoint(odd_id<EndpointId>(7).raw());
  pb::ClientSnapshot heard;
  ASSERT_TRUE(heard.ParseFromString(said.SerializeAsString()));
  EXPECT_EQ(heard.endpoint(), odd_id<EndpointId>(7).raw());
}

// To 0.1.0 this field is text, and bytes that are none make it refuse the whole message.
TEST_F(TwoProcesses, the_field_that_0_1_0_takes_for_text_stays_empty) {
  add_session(odd_id<SessionId>(1), odd_id<EndpointId>(2));
  pb::SnapshotReply reply;
  answers_->fill_snapshot(reply);
  ASSERT_EQ(reply.clients_size(), 2);
  for (const auto& row : reply.clients()) EXPECT_TRUE(row.endpoint().empty());
}

}  // namespace
}  // namespace everspan::node
