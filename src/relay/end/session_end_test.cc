#include "relay/end/session_end.h"

#include <gtest/gtest.h>

#include "common/crypto.h"
#include "proto/link.pb.h"

namespace everspan::relay_end {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTtl = 60s;

// One end, with hands for its node.
class SessionEndTest : public testing::Test {
 protected:
  SessionEndTest() : end_(options(), now_) {}

  static SessionOptions options(Side side = Side::console) {
    SessionOptions out{.side = side, .session_id = std::string(16, 's')};
    out.limits.strict = false;
    out.ttl = kTtl;
    out.orders.candidates = {{"a", 1, ""}, {"b", 2, ""}};
    out.orders.heartbeat = 1s;
    return out;
  }

  void take() {
    for (auto& action : end_.take_actions()) {
      if (auto* frames = std::get_if<SendFrames>(&action)) {
        std::string_view rest = frames->bytes;
        while (!rest.empty()) {
          std::size_t size = 0;
          const auto frame = wire::parse_frame(rest, size);
          ASSERT_TRUE(frame && *frame);
          describe(frames->leg, **frame);
          rest.remove_prefix(size);
        }
      } else if (auto* dial = std::get_if<Dial>(&action)) {
        dials_.push_back(*dial);
      } else if (auto* close = std::get_if<CloseLeg>(&action)) {
        log_.push_back("close " + std::to_string(close->leg));
      } else if (auto* ended = std::get_if<Ended>(&action)) {
        log_.push_back("ended " + ended->code);
      } else if (auto* notice = std::get_if<NodeNotice>(&action)) {
        log_.push_back("notice " + notice->text);
      } else if (auto* gone = std::get_if<ChannelGone>(&action)) {
        log_.push_back("gone " + std::to_string(gone->channel) + gone->code);
      }
    }
  }
  void describe(std::uint64_t leg, const wire::Frame& frame) {
    const std::string on = std::to_string(leg) + ": ";
    if (const auto* data = std::get_if<wire::Data>(&frame))
      log_.push_back(
          on + "data " + std::to_string(data->channel) + "@" + std::to_string(data->offset) +
          (data->channel == 0 ? "" : " " + std::string(data->payload)) + (data->fin ? "$" : ""));
    else if (const auto* resume = std::get_if<wire::Resume>(&frame))
      log_.push_back(on + "resume " + std::to_string(resume->channel) + "@" +
                     std::to_string(resume->received));
    else if (const auto* ack = std::get_if<wire::Ack>(&frame); ack && acks_)
      log_.push_back(on + "ack " + std::to_string(ack->channel) + "@" +
                     std::to_string(ack->received));
    else if (std::holds_alternative<wire::Barrier>(frame))
      log_.push_back(on + "barrier");
    else if (std::holds_alternative<wire::Ping>(frame))
      log_.push_back(on + "ping");
    else if (std::holds_alternative<wire::Control>(frame))
      log_.push_back(on + "control");
  }
  void node_says(std::uint64_t leg, const pb::LinkMessage& message) {
    const std::string bytes = message.SerializeAsString();
    end_.leg_frame(leg, wire::Control{bytes}, now_);
    take();
  }
  void attached(std::uint64_t leg, bool peer = true) {
    pb::LinkMessage message;
    message.mutable_attached()->set_generation(leg);
    message.mutable_attached()->set_peer_attached(peer);
    node_says(leg, message);
  }
  void peer_attached(std::uint64_t leg, bool lost) {
    pb::LinkMessage message;
    message.mutable_peer_attached()->set_lost(lost);
    node_says(leg, message);
  }
  void migrate(std::uint64_t leg) {
    pb::LinkMessage message;
    message.mutable_migrate()->add_candidates()->set_host("new");
    message.mutable_migrate()->mutable_candidates(0)->set_port(9);
    node_says(leg, message);
  }
  void frame(std::uint64_t leg, const wire::Frame& frame) {
    end_.leg_frame(leg, frame, now_);
    take();
  }
  void pass(Duration time) {
    now_ += time;
    end_.tick(now_);
    take();
  }
  void up() {
    end_.start(now_);
    take();
    attached(1);
    ASSERT_TRUE(end_.add_channel(1, now_));
    log_.clear();
  }
  void write(std::string_view bytes) {
    EXPECT_EQ(end_.write(1, bytes, now_), bytes.size());
    take();
  }
  std::vector<std::string> log() { return std::exchange(log_, {}); }
  using Lines = std::vector<std::string>;

  Instant now_{1h};
  bool acks_ = false;  // Acknowledgements are of interest.
  SessionEnd end_;
  std::vector<Dial> dials_;
  std::vector<std::string> log_;
};

TEST_F(SessionEndTest, HoldsBytesUntilTheOtherEndHasALeg) {  // S1
  end_.start(now_);
  take();
  ASSERT_EQ(dials_.size(), 1U);
  EXPECT_EQ(dials_[0].generation, 1U);
  EXPECT_EQ(dials_[0].reason, DialReason::first);
  ASSERT_TRUE(end_.add_channel(1, now_));
  write("hello");
  attached(1, false);
  EXPECT_EQ(log(), Lines{});
  peer_attached(1, false);
  EXPECT_EQ(log(), Lines{"1: data 1@0 hello"});
}

TEST_F(SessionEndTest, AcksOfSmallThingsTravelWithDataOrWaitAMoment) {  // S7
  acks_ = true;
  up();
  pass(0ms);  // The channel's first window.
  log_.clear();
  const auto comes = [&](std::uint64_t offset, std::string_view bytes) {
    frame(1, wire::Data{1, false, offset, bytes});
    end_.consume(1, bytes.size(), now_);
    take();
  };
  comes(0, "key");
  EXPECT_EQ(log(), Lines{});
  write("echo");
  EXPECT_EQ(log(), (Lines{"1: data 1@0 echo", "1: ack 1@3"}));
  comes(3, "x");
  EXPECT_EQ(end_.wake_at(), now_ + 100ms);
  pass(99ms);
  EXPECT_EQ(log(), Lines{});
  pass(1ms);
  EXPECT_EQ(log(), Lines{"1: ack 1@4"});
}

TEST_F(SessionEndTest, AcksThatASenderMayWaitForLeaveAtOnce) {  // S7
  acks_ = true;
  up();
  pass(0ms);
  log_.clear();
  const std::string quarter(32 * 1024, 'b');
  std::uint64_t at = 0;
  for (int i = 0; i < 2; ++i, at += quarter.size()) {
    frame(1, wire::Data{1, false, at, quarter});
    end_.consume(1, quarter.size(), now_);
    take();
  }
  EXPECT_EQ(log(), Lines{"1: ack 1@65536"});
  frame(1, wire::Data{1, false, at - 1, "b"});  // Again: its sender may have missed our word.
  EXPECT_EQ(log(), Lines{"1: ack 1@65536"});
  frame(1, wire::Data{1, true, at, ""});
  EXPECT_EQ(log(), Lines{"1: ack 1@65537"});
}

TEST_F(SessionEndTest, WhatCameBeforeTheEndCanBeTakenAfterItAndOnlyOnce) {  // S6
  up();
  frame(1, wire::Data{1, false, 0, "came"});
  pb::Tombstone tombstone;
  tombstone.set_session_id(std::string(16, 's'));
  pb::LinkMessage message;
  message.mutable_ended()->set_tombstone(tombstone.SerializeAsString());
  node_says(1, message);
  ASSERT_TRUE(end_.ended());
  EXPECT_EQ(end_.readable(1), "came");
  end_.consume(1, 4, now_);
  EXPECT_EQ(end_.readable(1), "");
  log_.clear();
  take();
  EXPECT_EQ(log(), Lines{});  // Nobody is told any more.
}

TEST_F(SessionEndTest, APlannedMoveSendsABarrierAndThenOnTheNewLegOnly) {  // L2
  up();
  write("a");
  migrate(1);
  ASSERT_EQ(dials_.size(), 2U);
  EXPECT_EQ(dials_[1].reason, DialReason::planned);
  EXPECT_EQ(dials_[1].candidate.host, "new");
  write("b");
  attached(2);
  write("c");
  EXPECT_EQ(log(), (Lines{"1: data 1@0 a", "1: data 1@1 b", "1: barrier", "2: data 1@2 c"}));
  frame(1, wire::Data{1, false, 0, "late"});  // The old leg still delivers.
  EXPECT_EQ(end_.readable(1), "late");
  frame(1, wire::Barrier{});
  EXPECT_EQ(log(), Lines{"close 1"});
  frame(1, wire::Data{1, false, 4, "never"});  // S2
  EXPECT_EQ(end_.readable(1), "late");
}

TEST_F(SessionEndTest, ALostLegIsDialledAgainWithAHigherGenerationAndBothResume) {  // L1, S3
  up();
  write("abc");
  frame(1, wire::Data{1, false, 0, "xy"});
  log();
  end_.leg_failed(1, now_);
  take();
  ASSERT_EQ(dials_.size(), 2U);
  EXPECT_EQ(dials_[1].generation, 2U);
  EXPECT_EQ(dials_[1].reason, DialReason::lost);
  attached(2);
  EXPECT_EQ(log(), (Lines{"2: resume 1@2", "2: resume 0@0"}));
  write("d");
  EXPECT_EQ(log(), Lines{});  // Held until the other end says where.
  frame(2, wire::Resume{1, 1, kInitialWindowBytes});
  EXPECT_EQ(log(), Lines{"2: data 1@1 bcd"});
}

TEST_F(SessionEndTest, AChannelThatTheOtherEndDoesNotNameIsSentFromItsBeginning) {  // S3
  up();
  write("abc");
  log();
  end_.leg_failed(1, now_);
  take();
  attached(2);
  log();
  frame(2, wire::Resume{0, 0, kInitialWindowBytes});
  EXPECT_EQ(log(), Lines{"2: data 1@0 abc"});
}

TEST_F(SessionEndTest, WhenTheOtherEndLostItsLegBothResume) {
  up();
  pb::LinkMessage gone;
  gone.mutable_peer_gone();
  node_says(1, gone);
  write("abc");
  EXPECT_EQ(log(), Lines{});
  peer_attached(1, true);
  EXPECT_EQ(log(), (Lines{"1: resume 1@0", "1: resume 0@0"}));
  pass(1s);  // Its resume never came: all that is kept is sent.
  EXPECT_EQ(log(), (Lines{"1: ping", "1: data 1@0 abc"}));
}

TEST_F(SessionEndTest, AResumeThatNobodyAnnouncedIsAnsweredOnce) {  // S3
  up();
  write("abc");
  log();
  frame(1, wire::Resume{1, 1, kInitialWindowBytes});
  frame(1, wire::Resume{0, 0, kInitialWindowBytes});
  EXPECT_EQ(log(), (Lines{"1: data 1@1 bc", "1: resume 1@0", "1: resume 0@0"}));
  frame(1, wire::Resume{0, 0, kInitialWindowBytes});
  EXPECT_EQ(log(), Lines{});
}

TEST_F(SessionEndTest, ALegLostInAMoveGivesTheMoveUp) {  // L4
  up();
  migrate(1);
  end_.leg_failed(1, now_);
  take();
  EXPECT_EQ(log(), Lines{"close 2"});
  ASSERT_EQ(dials_.size(), 3U);
  EXPECT_EQ(dials_[2].generation, 3U);
  EXPECT_EQ(dials_[2].reason, DialReason::lost);
  attached(2);  // Too late.
  EXPECT_FALSE(end_.connected());
  attached(3);
  EXPECT_TRUE(end_.connected());
}

TEST_F(SessionEndTest, AnOldLegThatBreaksBeforeItsBarrierMakesUsAskAndSendAgain) {  // S4
  up();
  write("abc");
  migrate(1);
  attached(2);
  log();
  end_.leg_failed(1, now_);
  take();
  EXPECT_EQ(log(), (Lines{"2: resume 1@0", "2: resume 0@0", "2: data 1@0 abc"}));
}

TEST_F(SessionEndTest, ASilentNodeIsPingedThenLeft) {
  up();
  pass(1s);
  EXPECT_EQ(log(), Lines{"1: ping"});
  frame(1, wire::Pong{1});
  pass(1s);
  EXPECT_EQ(log(), Lines{"1: ping"});
  pass(2s);
  EXPECT_EQ(log(), Lines{"close 1"});
  EXPECT_EQ(dials_.back().reason, DialReason::lost);
}

TEST_F(SessionEndTest, CandidatesAreTriedInTurnAndTheTimeToLiveEndsIt) {  // L5
  end_.start(now_);
  take();
  std::vector<std::string> hosts;
  const Instant begin = now_;
  while (!end_.ended() && now_ - begin < 2 * kTtl) {
    if (hosts.size() < dials_.size()) {
      hosts.push_back(dials_.back().candidate.host);
      EXPECT_EQ(dials_.back().generation, dials_.size());
      end_.leg_failed(dials_.back().generation, now_);
    }
    now_ = std::max(now_ + 1ms, end_.wake_at());
    pass(0ms);
  }
  EXPECT_EQ(log(), Lines{"ended ttl"});
  EXPECT_EQ(now_ - begin, kTtl);
  ASSERT_GT(hosts.size(), 40U);  // At least one a second and a half.
  EXPECT_EQ(hosts[0], "a");
  EXPECT_EQ(hosts[1], "b");
}

TEST_F(SessionEndTest, ALostLegIsDialledFirstWhereItWasWhateverTheOrdersPutFirst) {  // L6
  up();
  pb::LinkMessage message;
  for (const char* host : {"b", "c", "a"}) {
    pb::Candidate& to = *message.mutable_orders()->add_candidates();
    to.set_host(host);
    to.set_port(host[0] == 'a' ? 1 : 2);
  }
  node_says(1, message);
  std::vector<std::string> hosts;
  end_.leg_failed(1, now_);
  while (hosts.size() < 4) {
    now_ = std::max(now_ + 1ms, end_.wake_at());
    pass(0ms);
    if (hosts.size() == dials_.size() - 1) continue;
    hosts.push_back(dials_.back().candidate.host);
    end_.leg_failed(dials_.back().generation, now_);
  }
  EXPECT_EQ(hosts, (std::vector<std::string>{"a", "b", "c", "a"}));
}

TEST_F(SessionEndTest, AFinalRefusalOfTheFirstAttachEndsIt) {
  end_.start(now_);
  take();
  pb::LinkMessage refuse;
  refuse.mutable_refuse()->set_code("bad_grant");
  node_says(1, refuse);
  EXPECT_EQ(log(), (Lines{"close 1", "ended bad_grant"}));
}

TEST_F(SessionEndTest, RetryLaterIsRetriedLater) {
  end_.start(now_);
  take();
  pb::LinkMessage refuse;
  refuse.mutable_refuse()->set_code("retry_later");
  refuse.mutable_refuse()->set_retry_after_ms(3000);
  node_says(1, refuse);
  pass(2900ms);
  EXPECT_EQ(dials_.size(), 1U);
  pass(200ms);
  EXPECT_EQ(dials_.size(), 2U);
  EXPECT_EQ(dials_[1].reason, DialReason::lost);  // The first may have been taken.
}

TEST_F(SessionEndTest, ANoticeOfTheNodeIsHandedOnAndChangesNothing) {
  up();
  log_.clear();
  pb::LinkMessage message;
  message.mutable_notice()->set_text("Back at 5");
  node_says(1, message);
  EXPECT_EQ(log_, std::vector<std::string>{"notice Back at 5"});
  EXPECT_TRUE(end_.connected());
}

TEST_F(SessionEndTest, ATombstoneOfAnotherSessionOrAWrongKeyEndsNothing) {
  const SigningKey site = SigningKey::generate();
  SessionOptions with_key = options();
  with_key.site_key = site.public_key();
  SessionEnd end(with_key, now_);
  end.start(now_);
  pb::LinkMessage attached;
  attached.mutable_attached()->set_generation(1);
  end.leg_frame(1, wire::Control{attached.SerializeAsString()}, now_);
  const auto say = [&](const std::string& session, const SigningKey& key) {
    pb::Tombstone tombstone;
    tombstone.set_session_id(session);
    pb::LinkMessage message;
    message.mutable_ended()->set_tombstone(tombstone.SerializeAsString());
    message.mutable_ended()->set_signature(
        key.sign(std::string("everspan tombstone 1\0", 21) + message.ended().tombstone()));
    end.leg_frame(1, wire::Control{message.SerializeAsString()}, now_);
  };
  say(std::string(16, 'x'), site);
  say(std::string(16, 's'), SigningKey::generate());
  EXPECT_FALSE(end.ended());
  say(std::string(16, 's'), site);
  EXPECT_TRUE(end.ended());
}

TEST_F(SessionEndTest, APeerThatClaimsTheImpossibleEndsTheSession) {  // C6
  up();
  frame(1, wire::Ack{1, 1, kInitialWindowBytes});
  EXPECT_EQ(log(), Lines{"ended bad_peer"});
  EXPECT_EQ(end_.write(1, "x", now_), 0U);  // S6
}

TEST_F(SessionEndTest, AControlMessageIsBounded) {
  up();
  std::string length;
  put_u32(length, kControlMessageBytesMax + 1);
  frame(1, wire::Data{0, false, 0, length});
  EXPECT_EQ(log(), Lines{"ended bad_peer"});
}

TEST_F(SessionEndTest, AChannelIsForgottenWhenBothSaidThatItIsClosed) {  // S5
  up();
  write("a");
  end_.finish(1, now_);
  frame(1, wire::Data{1, true, 0, "b"});
  end_.consume(1, 1, now_);
  frame(1, wire::Ack{1, 2, kInitialWindowBytes});
  take();
  const Lines lines = log();
  EXPECT_EQ(lines.back(), "1: data 0@0");  // ChannelClosed
  EXPECT_TRUE(end_.has_channel(1));
  pb::SessionControl closed;
  closed.mutable_closed()->set_channel(1);
  const std::string body = closed.SerializeAsString();
  std::string bytes;
  put_u32(bytes, static_cast<std::uint32_t>(body.size()));
  frame(1, wire::Data{0, false, 0, bytes + body});
  EXPECT_FALSE(end_.has_channel(1));
  EXPECT_FALSE(end_.add_channel(1, now_));
  frame(1, wire::Data{1, false, 0, "again"});  // A late repetition.
  EXPECT_FALSE(end_.ended());
}

TEST(SessionEndAtTheAgent, KeepsBytesThatComeBeforeTheirOpenChannel) {
  const Instant now{1h};
  SessionOptions options{.side = Side::agent, .session_id = std::string(16, 's')};
  SessionEnd end(options, now);
  end.start(now);
  pb::LinkMessage attached;
  attached.mutable_attached()->set_generation(1);
  attached.mutable_attached()->set_peer_attached(true);
  end.leg_frame(1, wire::Control{attached.SerializeAsString()}, now);
  end.leg_frame(1, wire::Data{5, false, 0, "early"}, now);
  std::ignore = end.take_actions();
  ASSERT_TRUE(end.add_channel(5, now));
  EXPECT_EQ(end.readable(5), "early");
  bool told = false;
  for (const auto& action : end.take_actions())
    if (const auto* readable = std::get_if<Readable>(&action)) told = readable->channel == 5;
  EXPECT_TRUE(told);
  end.leg_frame(1, wire::Data{4, false, 0, "ours to give"}, now);
  EXPECT_FALSE(end.has_channel(4));
  for (std::uint32_t channel = 7; channel < 207; channel += 2)
    end.leg_frame(1, wire::Data{channel, false, 0, "x"}, now);
  EXPECT_LE(end.channels(), 1 + kEarlyChannelsMax);
}

TEST_F(SessionEndTest, AMessageThatCameAndWasNotHandedOnIsPartOfTheState) {
  up();
  pb::SessionControl message;
  message.mutable_exit()->set_channel(1);
  const std::string raw = message.SerializeAsString();
  std::string bytes;
  put_u32(bytes, static_cast<std::uint32_t>(raw.size()));
  bytes += raw;
  end_.leg_frame(1, wire::Data{.channel = 0, .fin = false, .offset = 0, .payload = bytes}, now_);
  const SessionState state = end_.state();  // As it is written before the actions are taken.
  EXPECT_EQ(state.unheard, std::vector<std::string>{raw});
  SessionEnd next(options(), now_);
  next.restore(state, now_);
  const auto actions = next.take_actions();
  ASSERT_EQ(actions.size(), 1U);
  EXPECT_EQ(std::get<ControlMessage>(actions[0]).bytes, raw);
  take();
  EXPECT_TRUE(end_.state().unheard.empty());
}

}  // namespace
}  // namespace everspan::relay_end
