// Edits keep what a newer release wrote and this one does not understand.
#include "store/update.h"

#include <gtest/gtest.h>

#include <array>
#include <future>
#include <thread>

#include "common/random.h"
#include "proto/base.pb.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// A field with a number that no message here has: varint, fixed 32 or 64, or bytes.
std::string unknown_field(SeededRandom& random) {
  std::string out;
  const std::uint64_t number = random.between(1000, 100000);
  const std::uint64_t type = std::array{0, 1, 2, 5}[random.below(4)];
  put_varint(out, number << 3 | type);
  if (type == 0) {
    put_varint(out, random.next());
    return out;
  }
  std::uint64_t size = type == 1 ? 8 : 4;
  if (type == 2) {
    size = random.below(200);
    put_varint(out, size);
  }
  for (; size > 0; --size) out += static_cast<char>(random.next());
  return out;
}

class Updates : public testing::Test {
 protected:
  void SetUp() override {
    auto writer = LogWriter::open(writer_options(path_));
    ASSERT_OK(writer);
    writer_ = std::move(*writer);
    ASSERT_OK(writer_->become_writer({1}));
    auto reader = LogReader::open(path_);
    ASSERT_OK(reader);
    reader_ = std::move(*reader);
  }
  std::string stored(const std::string& key) {
    auto record = reader_->get("setting", key);
    EXPECT_TRUE(record && record->has_value());
    return record && *record ? (*record)->bytes : "";
  }
  static Edit append(const std::string& text) {
    return [text](const std::optional<std::string>& bytes) -> Result<std::string> {
      return bytes.value_or("") + text;
    };
  }

  TemporaryFolder folder_;
  std::string path_ = folder_ / "log.db";
  std::unique_ptr<LogWriter> writer_;
  std::unique_ptr<LogReader> reader_;
};

TEST_F(Updates, UnknownFieldsOfANewerRecordSurviveEdits) {
  SeededRandom random(testing::UnitTest::GetInstance()->random_seed() + 1ULL);
  for (int round = 0; round < 100; ++round) {
    pb::Slot known;
    known.set_version("1.0");
    known.set_pid(7);
    std::string unknown;
    for (std::uint64_t n = random.between(1, 6); n > 0; --n) unknown += unknown_field(random);
    // A newer release may write its fields before, between and after the known ones.
    const std::string bytes = unknown + known.SerializeAsString();
    const std::string key = "slot" + std::to_string(round);
    ASSERT_OK(writer_->submit_and_wait(put(key, bytes)));
    for (int edit = 0; edit < 2; ++edit)
      ASSERT_OK(update(
          *reader_, *writer_, "setting", key,
          edit_message<pb::Slot>([](pb::Slot& slot) { slot.set_version(slot.version() + "x"); })));
    pb::Slot after;
    ASSERT_TRUE(after.ParseFromString(stored(key)));
    EXPECT_EQ(after.version(), "1.0xx");
    EXPECT_EQ(after.pid(), 7U);
    EXPECT_NE(stored(key).find(unknown), std::string::npos) << "a newer release's fields were lost";
  }
}

TEST_F(Updates, ARecordThatIsNoMessageIsLeftAlone) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "\xff\xff\xff")));
  EXPECT_EQ(
      code_of(update(*reader_, *writer_, "setting", "a", edit_message<pb::Slot>([](pb::Slot&) {}))),
      "bad_record");
  EXPECT_EQ(stored("a"), "\xff\xff\xff");
}

TEST_F(Updates, AMissingRecordIsMadeOnlyWhereThatIsAllowed) {
  EXPECT_EQ(code_of(update(*reader_, *writer_, "setting", "a", append("x"))), "not_found");
  UpdateOptions options;
  options.must_exist = false;
  ASSERT_OK(update(*reader_, *writer_, "setting", "a", append("x"), options));
  EXPECT_EQ(stored("a"), "x");
}

TEST_F(Updates, ARepeatedRequestDoesNotEditAgain) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "")));
  UpdateOptions options;
  options.request_id = request(3);
  auto first = update(*reader_, *writer_, "setting", "a", append("x"), options);
  ASSERT_OK(first);
  auto again = update(*reader_, *writer_, "setting", "a", append("x"), options);
  ASSERT_OK(again);
  EXPECT_EQ(again->revision, first->revision);
  EXPECT_EQ(stored("a"), "x");
}

TEST_F(Updates, NoneOfManyConcurrentEditsIsLost) {
  constexpr int kThreads = 4;
  constexpr int kEdits = 25;
  ASSERT_OK(writer_->submit_and_wait(put("a", "")));
  std::atomic<std::size_t> done = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&] {
        for (int i = 0; i < kEdits; ++i) {
          auto result = update(*reader_, *writer_, "setting", "a", append("x"));
          if (result)
            ++done;
          else
            EXPECT_EQ(result.error().code, "conflict");
        }
      });
  }
  EXPECT_GT(done, 0U);
  EXPECT_EQ(stored("a").size(), done);
}

TEST_F(Updates, EditsWithoutWaitingTryAgainAfterAConflict) {
  ASSERT_OK(writer_->submit_and_wait(put("a", "")));
  int runs = 0;
  std::promise<Result<Outcome>> promise;
  update_async(
      *reader_, *writer_, "setting", "a",
      [&](const std::optional<std::string>& bytes) -> Result<std::string> {
        // Somebody else writes between the first read and its commit.
        if (++runs == 1) writer_->submit(put("a", "other"), [](auto) {});
        return bytes.value_or("") + "+mine";
      },
      {}, [&](Result<Outcome> result) { promise.set_value(std::move(result)); });
  auto result = promise.get_future().get();
  ASSERT_OK(result);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(stored("a"), "other+mine");
}

}  // namespace
}  // namespace everspan::store
