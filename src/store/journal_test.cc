#include "store/journal.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "store/core/journal_format.h"
#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

namespace fs = std::filesystem;

class Journals : public testing::Test {
 protected:
  std::unique_ptr<Journal> open(std::uint64_t generation = 1, std::size_t segment_bytes = 1 << 20) {
    Journal::Options options;
    options.dir = folder_ / "journal";
    options.node = test_node();
    options.generation = {generation};
    options.now = [this] { return WallTime{now_}; };
    options.segment_bytes_max = segment_bytes;
    auto journal = Journal::open(options);
    EXPECT_TRUE(journal) << journal.error().text();
    return std::move(*journal);
  }
  static JournalEntry entry(const std::string& subject) {
    JournalEntry it;
    it.who = "admin";
    it.what = "setting.changed";
    it.subject = subject;
    it.detail = "{\"value\":1}";
    return it;
  }
  static std::vector<std::string> subjects(Journal& journal) {
    std::vector<std::string> out;
    std::uint64_t after = 0;
    for (;;) {
      auto page = journal.read(after, 7);
      EXPECT_TRUE(page);
      if (!page || page->empty()) return out;
      for (const JournalEntry& it : *page) out.push_back(it.subject);
      after = page->back().seq;
    }
  }
  std::vector<fs::path> segments() {
    std::vector<fs::path> found;
    for (const auto& it : fs::recursive_directory_iterator(folder_ / "journal"))
      if (it.is_regular_file()) found.push_back(it.path());
    std::ranges::sort(found);
    return found;
  }
  static std::vector<std::string> problems(Journal& journal) {
    auto verdict = journal.verify();
    EXPECT_TRUE(verdict);
    return verdict->problems;
  }
  static void change_byte(const fs::path& path, std::uintmax_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char c = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(c);
  }

  TemporaryFolder folder_;
  std::atomic<std::int64_t> now_ = 1'700'000'000'000;
};

TEST_F(Journals, KeepWhatWasAppendedInOrderAcrossRestarts) {
  std::vector<std::string> written;
  std::uint64_t last = 0;
  for (int round = 0; round < 3; ++round) {
    auto journal = open(1);
    for (int i = 0; i < 10; ++i) {
      written.push_back(std::to_string(round) + "/" + std::to_string(i));
      auto seq = journal->append_and_wait(entry(written.back()));
      ASSERT_OK(seq);
      EXPECT_GT(*seq, last);
      last = *seq;
    }
    EXPECT_EQ(subjects(*journal), written);
    now_ -= 5000;  // The clock was set back: order stays.
  }
  auto journal = open(2);
  EXPECT_EQ(subjects(*journal), written);
  auto page = journal->read(0, 1);
  ASSERT_OK(page);
  const JournalEntry& first = page->front();
  EXPECT_EQ(first.who, "admin");
  EXPECT_EQ(first.what, "setting.changed");
  EXPECT_EQ(first.detail, "{\"value\":1}");
  EXPECT_EQ(first.at, WallTime{1'700'000'000'000});
  EXPECT_EQ(first.node, test_node());
  EXPECT_EQ(first.generation, Generation{1});
  EXPECT_TRUE(problems(*journal).empty());
}

TEST_F(Journals, TwoProcessesOfANodeMayAppendAtOnce) {
  auto old_site = open(1);
  auto new_site = open(0);
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK(old_site->append_and_wait(entry("old" + std::to_string(i))));
    now_ += 10;
    ASSERT_OK(new_site->append_and_wait(entry("new" + std::to_string(i))));
    now_ += 10;
  }
  new_site->set_generation({2});
  ASSERT_OK(new_site->append_and_wait(entry("granted")));
  const std::vector<std::string> all{"old0", "new0", "old1", "new1", "old2",   "new2",
                                     "old3", "new3", "old4", "new4", "granted"};
  EXPECT_EQ(subjects(*old_site), all);
  EXPECT_EQ(subjects(*new_site), all);
  EXPECT_TRUE(problems(*old_site).empty());
  EXPECT_EQ(segments().size(), 3U);
}

TEST_F(Journals, ASegmentThatBeganWithoutAnEntryIsChainedToTheEndOfTheOneBefore) {
  auto journal = open(1);
  ASSERT_OK(journal->append_and_wait(entry("first")));
  const fs::path before = segments().front();
  const auto one_entry = fs::file_size(before);
  ASSERT_OK(journal->append_and_wait(entry("second")));
  journal->set_generation({2});
  while (segments().size() < 2) std::this_thread::yield();
  ASSERT_OK(journal->append_and_wait(entry("granted")));
  EXPECT_TRUE(problems(*journal).empty());
  journal.reset();
  fs::resize_file(before, one_entry);  // No record is torn: only the chain can tell.
  EXPECT_FALSE(problems(*open(3)).empty());
}

TEST_F(Journals, GoOnInANewSegmentWhenOneIsFull) {
  auto journal = open(1, 2000);
  std::vector<std::string> written;
  for (int i = 0; i < 100; ++i) {
    written.push_back("s" + std::to_string(i));
    ASSERT_OK(journal->append_and_wait(entry(written.back())));
  }
  EXPECT_GT(segments().size(), 3U);
  EXPECT_EQ(subjects(*journal), written);
  EXPECT_TRUE(problems(*journal).empty());
}

TEST_F(Journals, ManyThreadsShareAnFsync) {
  auto journal = open();
  constexpr int kEntries = 2000;
  std::atomic<int> durable = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < kEntries / 4; ++i)
          journal->append(entry(std::to_string(t)),
                          [&](const Result<std::uint64_t>& seq) { durable += seq ? 1 : 0; });
      });
  }
  journal.reset();  // Writes what is queued.
  EXPECT_EQ(durable, kEntries);
  EXPECT_EQ(subjects(*open()).size(), static_cast<std::size_t>(kEntries));
}

TEST_F(Journals, ATornTailIsCutAndJournalledAtEveryLength) {
  std::vector<std::uintmax_t> ends;
  {
    auto journal = open();
    for (const char* subject : {"one", "two", "three"}) {
      ASSERT_OK(journal->append_and_wait(entry(subject)));
      ends.push_back(fs::file_size(segments()[0]));
    }
  }
  const fs::path segment = segments()[0];
  fs::copy_file(segment, folder_ / "whole");
  for (std::uintmax_t size = ends[1] + 1; size < ends[2]; size += 13) {
    SCOPED_TRACE(size);
    fs::remove_all(folder_ / "journal");
    fs::create_directories(segment.parent_path());
    fs::copy_file(folder_ / "whole", segment);
    fs::resize_file(segment, size);
    auto journal = open();
    ASSERT_OK(journal->append_and_wait(entry("after")));
    EXPECT_EQ(subjects(*journal),
              (std::vector<std::string>{"one", "two", segment.filename(), "after"}));
    EXPECT_EQ(fs::file_size(segment.string() + ".torn-" + std::to_string(ends[1])), size - ends[1]);
    EXPECT_TRUE(problems(*journal).empty());
  }
}

TEST_F(Journals, ATailIsNotCutWhileItsWriterLives) {
  auto writer = open();
  ASSERT_OK(writer->append_and_wait(entry("one")));
  // As if the writer were in the middle of a record.
  std::ofstream(segments()[0], std::ios::app | std::ios::binary) << std::string(3, '\0');
  const auto size = fs::file_size(segments()[0]);
  auto other = open(2);
  EXPECT_EQ(fs::file_size(segments()[0]), size);
  EXPECT_EQ(subjects(*other), std::vector<std::string>{"one"});
  EXPECT_TRUE(problems(*other).empty());
}

TEST_F(Journals, AnyChangedByteShowsAndNoBytesAreDestroyed) {
  {
    auto journal = open(1);
    for (const char* subject : {"one", "two"}) ASSERT_OK(journal->append_and_wait(entry(subject)));
  }
  const fs::path segment = segments()[0];
  ASSERT_OK(open(2)->append_and_wait(entry("next")));
  fs::copy(folder_ / "journal", folder_ / "whole", fs::copy_options::recursive);
  const auto size = fs::file_size(segment);
  int cut = 0;
  for (std::uintmax_t at = 0; at < size; at += 3) {
    SCOPED_TRACE(testing::Message() << "byte " << at);
    change_byte(segment, at);
    {
      auto journal = open(3);
      EXPECT_FALSE(problems(*journal).empty());
    }
    std::uintmax_t kept = 0;
    for (const fs::path& it : segments())
      if (it.string().starts_with(segment.string())) kept += fs::file_size(it);
    EXPECT_EQ(kept, size);
    cut += fs::file_size(segment) < size ? 1 : 0;
    fs::remove_all(folder_ / "journal");
    fs::copy(folder_ / "whole", folder_ / "journal", fs::copy_options::recursive);
  }
  EXPECT_GT(cut, 0);
}

TEST_F(Journals, AMissingSegmentShows) {
  for (std::uint64_t generation = 1; generation <= 3; ++generation)
    ASSERT_OK(open(generation)->append_and_wait(entry("x")));
  fs::remove(segments()[1]);
  EXPECT_EQ(problems(*open(4)).size(), 1U);
}

TEST_F(Journals, TooLargeEntriesAreRefused) {
  auto journal = open();
  JournalEntry large = entry(std::string(kJournalTextBytesMax + 1, 'x'));
  EXPECT_EQ(code_of(journal->append_and_wait(large)), "too_large");
  large = entry("x");
  large.detail.assign(kJournalDetailBytesMax + 1, 'x');
  EXPECT_EQ(code_of(journal->append_and_wait(large)), "too_large");
  large.detail.pop_back();
  ASSERT_OK(journal->append_and_wait(large));
}

}  // namespace
}  // namespace everspan::store
