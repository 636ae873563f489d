// The disk fails at every possible call, as SQLite's own tests do it: fail the n-th, for every n.
#include <gtest/gtest.h>

#include <map>
#include <mutex>
#include <set>

#include "store/detail/suspect.h"
#include "store/fault_vfs.h"
#include "store/log.h"
#include "store/sqlite.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

class LogFaults : public testing::Test {
 protected:
  void SetUp() override {
    auto faults = FaultVfs::install("faulty");
    ASSERT_OK(faults);
    faults_ = std::move(*faults);
  }

  LogWriter::Options options(const std::string& path) {
    auto options = writer_options(path);
    options.vfs = "faulty";
    options.on_fatal = [this](const Error&) { ++fatal_; };
    return options;
  }

  // Writes keys until one is refused; returns what was acknowledged.
  static std::map<std::string, Revision> write_until_refused(LogWriter& writer, int writes) {
    std::map<std::string, Revision> acknowledged;
    for (int i = 0; i < writes; ++i) {
      const std::string key = "k" + std::to_string(i);
      auto outcome = writer.submit_and_wait(put(key, std::string(9000, 'x')));
      if (outcome) acknowledged[key] = outcome->revision;
      if (code_of(outcome) == "log_failed") break;
    }
    return acknowledged;
  }

  // By a new process's eyes: everything acknowledged is there, the chain holds, nothing is there
  // twice.
  static void expect_whole(const std::string& path,
                           const std::map<std::string, Revision>& acknowledged) {
    auto options = writer_options(path);
    options.new_site.reset();
    auto writer = LogWriter::open(options);
    ASSERT_OK(writer);
    ASSERT_OK((*writer)->become_writer({100}));
    ASSERT_OK((*writer)->submit_and_wait(put("afterwards", "x")));
    auto reader = LogReader::open(path);
    ASSERT_OK(reader);
    ASSERT_OK((*reader)->verify());
    for (const auto& [key, revision] : acknowledged) {
      auto record = (*reader)->get("setting", key);
      ASSERT_OK(record);
      ASSERT_TRUE(record->has_value()) << key << " was acknowledged and is lost";
      EXPECT_EQ((*record)->revision, revision);
    }
    auto page = (*reader)->entries({0}, 10000);
    ASSERT_OK(page);
    std::set<std::string> seen;
    for (const LogEntry& it : page->entries)
      EXPECT_TRUE(seen.insert(it.operations[0].key).second) << it.operations[0].key << " ran twice";
  }

  void fail_every_nth(FaultVfs::Call call, int writes) {
    constexpr std::uint64_t kRoundsMax = 2000;
    for (std::uint64_t n = 1;; ++n) {
      ASSERT_LT(n, kRoundsMax);
      SCOPED_TRACE(testing::Message() << "call " << n << " fails");
      TemporaryFolder folder;
      const std::string path = folder / "log.db";
      fatal_ = 0;
      faults_->heal();
      std::map<std::string, Revision> acknowledged;
      {
        auto writer = LogWriter::open(options(path));
        ASSERT_OK(writer);
        faults_->fail({call, FaultVfs::Fault::eio, n});
        if ((*writer)->become_writer({1})) acknowledged = write_until_refused(**writer, writes);
      }
      const bool fired = faults_->fired();
      faults_->heal();
      EXPECT_EQ(fatal_, fired ? 1 : 0);
      EXPECT_EQ(detail::is_suspect(path), fired);
      expect_whole(path, acknowledged);
      EXPECT_FALSE(detail::is_suspect(path));
      if (HasFatalFailure()) return;
      if (!fired) {
        EXPECT_EQ(acknowledged.size(), static_cast<std::size_t>(writes));
        EXPECT_GT(n, static_cast<std::uint64_t>(writes)) << "the faults hit nothing";
        return;
      }
    }
  }

  std::unique_ptr<FaultVfs> faults_;
  int fatal_ = 0;
};

TEST_F(LogFaults, AFailedSyncLosesNothingThatWasAcknowledged) {
  fail_every_nth(FaultVfs::Call::sync, 8);
}

TEST_F(LogFaults, AFailedWriteLosesNothingThatWasAcknowledged) {
  fail_every_nth(FaultVfs::Call::write, 4);
}

TEST_F(LogFaults, AfterAnIoErrorNothingIsWrittenAnyMore) {
  TemporaryFolder folder;
  auto writer = LogWriter::open(options(folder / "log.db"));
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->become_writer({1}));
  faults_->fail({FaultVfs::Call::sync, FaultVfs::Fault::eio, 1});
  EXPECT_EQ(code_of((*writer)->submit_and_wait(put("a", "x"))), "log_failed");
  faults_->heal();
  EXPECT_EQ(code_of((*writer)->submit_and_wait(put("b", "x"))), "log_failed");
  EXPECT_EQ(code_of((*writer)->become_writer({2})), "log_failed");
  EXPECT_EQ(faults_->calls(FaultVfs::Call::write), 0U);
}

TEST_F(LogFaults, AFullDiskRefusesAndALaterWriteSucceeds) {
  TemporaryFolder folder;
  const std::string path = folder / "log.db";
  auto writer = LogWriter::open(options(path));
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->become_writer({1}));
  ASSERT_OK((*writer)->submit_and_wait(put("before", "x")));
  FaultVfs::Plan full{FaultVfs::Call::write, FaultVfs::Fault::enospc, 1};
  full.and_all_after = true;
  faults_->fail(full);
  EXPECT_EQ(code_of((*writer)->submit_and_wait(put("during", "x"))), "disk_full");
  EXPECT_EQ(code_of((*writer)->submit_and_wait(put("during", "x"))), "disk_full");
  faults_->heal();
  EXPECT_EQ(fatal_, 0);
  ASSERT_OK((*writer)->submit_and_wait(put("after", "x")));
  writer->reset();
  expect_whole(path, {{"before", {1}}, {"after", {2}}});
}

TEST_F(LogFaults, ACrashWhileTheSuspectLogIsReplacedIsPickedUp) {
  // Each stage of replacing, as a crash leaves it: files moved so far.
  constexpr int kFenced = 4;  // And not yet marked.
  for (int stage = 0; stage <= kFenced; ++stage) {
    SCOPED_TRACE(stage);
    TemporaryFolder folder;
    const std::string path = folder / "log.db";
    {
      auto writer = LogWriter::open(writer_options(path));
      ASSERT_OK(writer);
      ASSERT_OK((*writer)->become_writer({1}));
      ASSERT_OK((*writer)->submit_and_wait(put("a", "x")));
    }
    detail::mark_suspect(path);
    namespace fs = std::filesystem;
    if (stage >= 1) {
      auto reader = LogReader::open(path);
      ASSERT_OK(reader);
      ASSERT_OK((*reader)->backup_to(path + ".new"));
    }
    if (stage == kFenced) {
      auto db = Database::open(path, {});
      ASSERT_OK(db);
      ASSERT_OK(
          db->run_script("UPDATE meta SET value=9223372036854775807 WHERE name='generation'"));
    } else if (stage >= 2) {
      fs::rename(path + ".suspect", path + ".replacing");
    }
    if (stage == 3) fs::rename(path, path + ".old");
    expect_whole(path, {{"a", {1}}});
    EXPECT_TRUE(fs::exists(path + ".old"));
    EXPECT_FALSE(detail::is_suspect(path));
  }
}

TEST_F(LogFaults, AWriterThatKeptTheSuspectFileOpenIsSuperseded) {
  TemporaryFolder folder;
  const std::string path = folder / "log.db";
  auto old_writer = LogWriter::open(writer_options(path));
  ASSERT_OK(old_writer);
  ASSERT_OK((*old_writer)->become_writer({1}));
  auto reader = LogReader::open(path);
  ASSERT_OK(reader);
  ASSERT_OK((*old_writer)->submit_and_wait(put("a", "x")));
  detail::mark_suspect(path);
  auto next = LogWriter::open(writer_options(path));
  ASSERT_OK(next);
  ASSERT_OK((*next)->become_writer({2}));
  EXPECT_EQ(code_of((*old_writer)->submit_and_wait(put("b", "x"))), "superseded");
  ASSERT_OK((*next)->submit_and_wait(put("c", "x")));
  // A reader follows to the new file.
  auto record = (*reader)->get("setting", "c");
  ASSERT_OK(record);
  EXPECT_TRUE(record->has_value());
}

TEST(Failpoints, AreReadStrictly) {
  auto point = parse_failpoint("log.sync:eio:3");
  ASSERT_OK(point);
  EXPECT_EQ(point->name, "log.sync");
  EXPECT_EQ(point->action, "eio");
  EXPECT_EQ(point->nth, 3U);
  for (const char* bad : {"", "log.sync", "log.sync:eio", "log.sync:eio:0", "log.sync:eio:x",
                          "log.sync:eio:1x", ":eio:1", "log.sync::1", "a:b:99999999999999999999"})
    EXPECT_EQ(code_of(parse_failpoint(bad)), "bad_failpoint") << bad;
}

TEST(Failpoints, AreIgnoredWithoutAnEnablingFileOfRoots) {
  TemporaryFolder folder;
  ASSERT_EQ(::setenv("EVERSPAN_FAILPOINT", "log.sync:eio:1", 1), 0);
  auto none = failpoint_from_environment(folder / "missing");
  ASSERT_OK(none);
  EXPECT_FALSE(none->has_value());
  // A folder is not a file, and others could write it.
  std::filesystem::create_directory(folder / "dir");
  none = failpoint_from_environment(folder / "dir");
  ASSERT_OK(none);
  EXPECT_FALSE(none->has_value());
  ::unsetenv("EVERSPAN_FAILPOINT");
}

}  // namespace
}  // namespace everspan::store
