#include "node/site_view.h"

#include <gtest/gtest.h>

#include <future>

#include "proto/records.pb.h"
#include "store/test_support/log_fixture.h"

namespace everspan::node {
namespace {

template <class IdType>
IdType id_of(std::uint8_t n) {
  IdType id;
  id.bytes.fill(n);
  return id;
}

class SiteViews : public testing::Test {
 protected:
  void SetUp() override {
    auto writer = store::LogWriter::open(store::writer_options(path_));
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    ASSERT_OK(writer_->become_writer({1}));
    auto log = store::LogReader::open(path_);
    ASSERT_OK(log);
    log_ = std::move(*log);
  }

  void write(store::Write it) {
    store::Transaction transaction;
    transaction.writes = {std::move(it)};
    ASSERT_OK(writer_->submit_and_wait(transaction));
  }
  void put_endpoint(std::uint8_t n) {
    pb::Endpoint endpoint;
    endpoint.set_id(id_of<EndpointId>(n).raw());
    endpoint.set_name("e" + std::to_string(n));
    write(store::Write::put("endpoint", id_of<EndpointId>(n).hex(), endpoint.SerializeAsString()));
  }
  void put_session(std::uint8_t n, bool ended) {
    pb::SessionRecord session;
    session.set_id(id_of<SessionId>(n).raw());
    if (ended) {
      session.mutable_tombstone()->set_signed_tombstone("end of " + std::to_string(n));
      session.mutable_tombstone()->set_ended_at_ms(now_.unix_ms);
    }
    write(store::Write::put("session", id_of<SessionId>(n).hex(), session.SerializeAsString()));
  }

  store::TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  WallTime now_{1'700'000'000'000};
  std::unique_ptr<store::LogWriter> writer_;
  std::unique_ptr<store::LogReader> log_;
};

TEST_F(SiteViews, FollowEntriesAndSayWhatEndedInThem) {
  SiteView view;
  put_endpoint(1);
  ASSERT_OK(view.load(*log_, now_));
  EXPECT_EQ(view.endpoint_name(id_of<EndpointId>(1)), "e1");
  put_session(1, false);
  put_session(1, true);
  auto ended = view.follow(*log_, now_);
  ASSERT_OK(ended);
  ASSERT_EQ(ended->size(), 1U);
  EXPECT_EQ(view.applied(), Revision{3});
}

TEST_F(SiteViews, LoadAgainWhenTheEntriesAreGoneAndMissNothing) {
  SiteView view;
  put_endpoint(1);
  put_endpoint(2);
  put_session(1, true);
  put_session(2, false);
  ASSERT_OK(view.load(*log_, now_));
  write(store::Write::erase("endpoint", id_of<EndpointId>(1).hex()));
  put_endpoint(3);
  put_session(2, true);
  put_session(3, false);
  std::promise<void> compacted;
  writer_->compact({now_.unix_ms + 1}, {1000}, [&](const Result<store::LogHead>& base) {
    EXPECT_TRUE(base);
    compacted.set_value();
  });
  compacted.get_future().wait();
  ASSERT_EQ(store::code_of(log_->entries(view.applied(), 1)), "compacted");

  auto ended = view.follow(*log_, now_);
  ASSERT_OK(ended);
  ASSERT_EQ(ended->size(), 1U);
  EXPECT_EQ(ended->front().session, id_of<SessionId>(2));
  EXPECT_EQ(ended->front().signed_tombstone, "end of 2");
  EXPECT_EQ(view.take_removed_endpoints(), std::vector<EndpointId>{id_of<EndpointId>(1)});
  EXPECT_EQ(view.endpoint_name(id_of<EndpointId>(3)), "e3");
  EXPECT_FALSE(view.endpoint_name(id_of<EndpointId>(1)).has_value());
  EXPECT_EQ(view.applied(), log_->head()->revision);
}

}  // namespace
}  // namespace everspan::node
