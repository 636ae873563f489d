#include "net/small_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace everspan::net {
namespace {

struct SmallFile : ::testing::Test {
  SmallFile() { EXPECT_NE(mkdtemp(folder.data()), nullptr); }
  ~SmallFile() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  }
  std::string folder = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
  std::string path() const { return folder + "/file"; }

  static unsigned mode_of(const std::string& file) {
    struct stat info{};
    EXPECT_EQ(stat(file.c_str(), &info), 0);
    return info.st_mode & 07777;
  }
};

TEST_F(SmallFile, IsReadAsItWasWrittenAndByItsOwnerOnly) {
  ASSERT_TRUE(write_small_file(path(), std::string("a\0b", 3)));
  EXPECT_EQ(mode_of(path()), 0600U);
  EXPECT_EQ(**read_small_file(path(), 3, Secrecy::owner_only), std::string("a\0b", 3));
  ASSERT_TRUE(write_small_file(path(), "shorter"));
  EXPECT_EQ(**read_small_file(path(), 100), "shorter");
  EXPECT_FALSE(std::filesystem::exists(path() + ".new"));
}

TEST_F(SmallFile, ThatIsMissingIsNoError) {
  const auto none = read_small_file(path(), 10);
  ASSERT_TRUE(none);
  EXPECT_FALSE(*none);
}

TEST_F(SmallFile, LongerThanItMayBeIsRefused) {
  ASSERT_TRUE(write_small_file(path(), "12345"));
  EXPECT_EQ(read_small_file(path(), 4).error().code, "too_long");
}

TEST_F(SmallFile, WithASecretMustBeClosedToOthers) {
  ASSERT_TRUE(write_small_file(path(), "secret"));
  for (const unsigned mode : {0640U, 0604U, 0620U, 0602U, 0610U}) {
    ASSERT_EQ(chmod(path().c_str(), mode), 0);
    EXPECT_EQ(read_small_file(path(), 100, Secrecy::owner_only).error().code, "too_open") << mode;
    EXPECT_TRUE(read_small_file(path(), 100)) << mode;
  }
}

TEST_F(SmallFile, WithASecretIsNotReadThroughALinkNorFromAPipe) {
  ASSERT_TRUE(write_small_file(path(), "secret"));
  const std::string link = folder + "/link";
  ASSERT_EQ(symlink(path().c_str(), link.c_str()), 0);
  EXPECT_FALSE(read_small_file(link, 100, Secrecy::owner_only));
  const std::string pipe = folder + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(read_small_file(pipe, 100, Secrecy::owner_only).error().code, "too_open");
}

TEST_F(SmallFile, IsClosedToOthersAfterAWriteThatFoundAnInterruptedOne) {
  ASSERT_TRUE(write_small_file(path() + ".new", "half"));
  ASSERT_EQ(chmod((path() + ".new").c_str(), 0644), 0);
  ASSERT_TRUE(write_small_file(path(), "whole"));
  EXPECT_EQ(mode_of(path()), 0600U);
  EXPECT_EQ(**read_small_file(path(), 100), "whole");
}

TEST_F(SmallFile, ThatCannotBeWrittenLeavesTheOldOne) {
  ASSERT_TRUE(write_small_file(path(), "old"));
  std::filesystem::create_directory(path() + ".new");
  EXPECT_FALSE(write_small_file(path(), "new"));
  EXPECT_EQ(**read_small_file(path(), 100), "old");
}

TEST_F(SmallFile, IsRemovedOnce) {
  ASSERT_TRUE(write_small_file(path(), "x"));
  EXPECT_TRUE(*remove_small_file(path()));
  EXPECT_FALSE(*remove_small_file(path()));
  EXPECT_FALSE(*read_small_file(path(), 10));
}

TEST_F(SmallFile, WithRoomKeptIsWholeEachTimeAndKeepsItsRoom) {
  for (const std::string& text : {std::string("first"), std::string(3000, 'x'), std::string("3")}) {
    ASSERT_TRUE(write_with_room_kept(path(), text));
    EXPECT_EQ(**read_small_file(path(), kRoomBytes), text);
    EXPECT_EQ(mode_of(path()), 0600U);
    struct stat spare{};
    ASSERT_EQ(stat((path() + ".spare").c_str(), &spare), 0);
    EXPECT_GT(spare.st_blocks, 0) << "the room of the next one";
  }
  EXPECT_EQ(write_with_room_kept(path(), std::string(kRoomBytes + 1, 'x')).error().code,
            "too_long");
  EXPECT_EQ(**read_small_file(path(), 100), "3");
}

}  // namespace
}  // namespace everspan::net
