#include "recording/recorder.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>

#include "common/crypto.h"
#include "common/random.h"
#include "proto/recording.pb.h"
#include "recording/reader.h"

namespace everspan::recording {
namespace {

class RecorderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/everspan_recorder_XXXXXX";
    folder = ::mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::unique_ptr<Recorder> open(std::uint64_t generation = 1,
                                 std::uint64_t file_bytes = 64 << 20) {
    RecorderOptions options;
    options.folder = folder;
    options.generation = generation;
    options.sync_interval_ms = 1;
    options.file_bytes_max = file_bytes;
    auto recorder = Recorder::open(options);
    EXPECT_TRUE(recorder) << recorder.error().text();
    return std::move(*recorder);
  }
  pb::RecorderSnapshot recovered(Recorder& recorder, const SessionId& session) {
    std::promise<pb::RecorderSnapshot> found;
    recorder.recover(session, [&](std::unique_ptr<pb::RecorderSnapshot> snapshot) {
      found.set_value(*snapshot);
    });
    return found.get_future().get();
  }
  std::string folder;
};

SessionInfo info_of(const SessionId& session) {
  SessionInfo info;
  info.session = session;
  info.person = "alice";
  return info;
}

// One session written through a recorder, and how far it was reported durable.
class Writer {
 public:
  Writer(Recorder& recorder, const SessionId& session)
      : recorder_(recorder), tap_(recorder.open_stream(info_of(session)), Policy::strict) {}
  void write(std::string_view bytes) {
    Batch batch;
    {
      const std::lock_guard lock(mutex_);
      tap_.add(Direction::a2c, 1, offset_, false, bytes, 7, batch);
    }
    offset_ += bytes.size();
    recorder_.submit(std::move(batch), [this](const Batch& done) {
      const std::lock_guard lock(mutex_);
      for (const auto& note : done.notes) tap_.mark_durable(note);
      changed_.notify_all();
    });
  }
  void wait_durable() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return tap_.durable(1, Direction::a2c) == offset_; });
  }
  std::uint64_t durable() {
    const std::lock_guard lock(mutex_);
    return tap_.durable(1, Direction::a2c);
  }
  [[nodiscard]] std::uint32_t stream() const { return tap_.stream(); }

 private:
  Recorder& recorder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  SessionTap tap_;
  std::uint64_t offset_ = 0;
};

std::string numbered(std::uint64_t from, std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<char>(SeededRandom(from + i).next());
  return bytes;
}

TEST_F(RecorderTest, a_session_is_listed_read_and_verified) {
  const auto session = random_id<SessionId>();
  {
    const auto recorder = open();
    Writer writer(*recorder, session);
    for (int i = 0; i < 50; ++i) writer.write(numbered(i * 100, 100));
    writer.wait_durable();
    recorder->close_stream(writer.stream(), "ended");
  }
  const auto list = list_recordings(folder);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 1U);
  EXPECT_EQ((*list)[0].info.session, session);
  EXPECT_EQ((*list)[0].info.person, "alice");
  EXPECT_EQ((*list)[0].bytes, 5000U);
  const auto report = verify_recording(folder, session);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok);
  EXPECT_EQ(report->open_segments, 0U);
  EXPECT_EQ(report->bytes, 5000U);
  const auto pieces = read_recording(folder, session);
  ASSERT_TRUE(pieces);
  std::string all;
  for (const auto& piece : *pieces) all += piece.bytes;
  EXPECT_EQ(all, numbered(0, 5000));
  EXPECT_EQ(verify_recording(folder, random_id<SessionId>()).error().code, "not_found");
}

TEST_F(RecorderTest, many_sessions_share_few_fsyncs) {
  const auto recorder = open();
  std::vector<std::unique_ptr<Writer>> writers;
  for (int i = 0; i < 200; ++i)
    writers.push_back(std::make_unique<Writer>(*recorder, random_id<SessionId>()));
  for (int round = 0; round < 5; ++round)
    for (auto& writer : writers) writer->write("message");
  for (auto& writer : writers) writer->wait_durable();
  EXPECT_EQ(recorder->counters().batches, 1000U);
  EXPECT_LT(recorder->counters().syncs, 500U);
  EXPECT_EQ(recorder->counters().files, 1U);
}

TEST_F(RecorderTest, a_full_file_is_followed_by_one_that_says_what_went_before) {
  const auto session = random_id<SessionId>();
  {
    const auto recorder = open(1, 20'000);
    Writer writer(*recorder, session);
    for (int i = 0; i < 20; ++i) {
      writer.write(numbered(i * 5000, 5000));
      writer.wait_durable();
    }
    EXPECT_GT(recorder->counters().files, 3U);
  }
  const auto report = verify_recording(folder, session);
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok);
  EXPECT_GT(report->segments, 3U);
  // The last file alone knows the durable offset.
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry);
  std::ranges::sort(files);
  for (std::size_t i = 0; i + 1 < files.size(); ++i) std::filesystem::remove(files[i]);
  const auto recorder = open(2);
  const auto snapshot = recovered(*recorder, session);
  ASSERT_EQ(snapshot.streams_size(), 1);
  EXPECT_EQ(snapshot.streams(0).durable(), 100'000U);
}

TEST_F(RecorderTest, a_changed_byte_is_found) {
  const auto session = random_id<SessionId>();
  {
    const auto recorder = open();
    Writer writer(*recorder, session);
    writer.write("the truth");
    writer.write(std::string(5000, 'x'));
    writer.wait_durable();
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(file)), {});
    const auto at = bytes.find("the truth");
    ASSERT_NE(at, std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(at));
    file.write("the TRUTH", 9);
  }
  const auto report = verify_recording(folder, session);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
}

// The child writes until it is killed and tells through a pipe what it was told is durable.
[[noreturn]] void write_until_killed(const std::string& folder, const SessionId& session,
                                     std::uint64_t generation, std::uint64_t seed, int pipe_fd) {
  RecorderOptions options;
  options.folder = folder;
  options.generation = generation;
  options.sync_interval_ms = 1;
  options.file_bytes_max = 100'000;
  auto recorder = Recorder::open(options);
  if (!recorder) ::_exit(2);
  Writer writer(**recorder, session);
  SeededRandom random(seed);
  std::uint64_t at = 0;
  for (;;) {
    const auto size = random.between(1, 3000);
    writer.write(numbered(at, size));
    at += size;
    if (random.one_in(3)) writer.wait_durable();
    const auto durable = writer.durable();
    if (::write(pipe_fd, &durable, sizeof durable) != sizeof durable) ::_exit(3);
  }
}

TEST_F(RecorderTest, what_was_reported_durable_survives_kill_9) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const auto session = random_id<SessionId>();
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    const auto child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(folder, session, seed, seed, fds[1]);
    ::close(fds[1]);
    std::uint64_t durable = 0;
    std::uint64_t said = 0;
    const auto enough = SeededRandom(seed).between(50'000, 300'000);
    while (said < enough && ::read(fds[0], &said, sizeof said) == sizeof said) durable = said;
    ::kill(child, SIGKILL);
    while (::read(fds[0], &said, sizeof said) == sizeof said) durable = said;
    ::close(fds[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    ASSERT_GE(durable, enough);

    const auto recorder = open(100 + seed);
    const auto snapshot = recovered(*recorder, session);
    ASSERT_EQ(snapshot.streams_size(), 1) << seed;
    EXPECT_GE(snapshot.streams(0).durable(), durable) << seed;
    const auto report = verify_recording(folder, session);
    ASSERT_TRUE(report);
    EXPECT_TRUE(report->ok) << seed;
    EXPECT_EQ(report->open_segments, 1U) << seed;
    const auto pieces = read_recording(folder, session);
    ASSERT_TRUE(pieces);
    std::string all;
    for (const auto& piece : *pieces) all += piece.bytes;
    ASSERT_GE(all.size(), durable) << seed;
    EXPECT_EQ(all, numbered(0, all.size())) << seed;
  }
}

}  // namespace
}  // namespace everspan::recording
