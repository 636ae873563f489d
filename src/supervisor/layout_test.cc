// The data folder as the site's user sees it. Only root can become another user: where the tests
// run as somebody else, there is nothing to see but the last one.
#include "supervisor/layout.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace everspan::supervisor {
namespace {

class Reachable : public testing::Test {
 protected:
  void SetUp() override {
    is_root_ = geteuid() == 0;
    char name[] = "/tmp/everspan-layout-XXXXXX";
    root_ = mkdtemp(name);
    chmod(root_.c_str(), 0755);
  }
  void TearDown() override {
    if (!root_.empty()) std::filesystem::remove_all(root_);
  }
  Result<void> check(const std::string& data) const { return check_reachable(Layout{data}, user_); }

  std::string root_;
  bool is_root_ = false;
  SiteUser user_{.uid = kSiteUidDefault, .gid = kSiteUidDefault, .separate = true};
};

TEST_F(Reachable, AFolderThatEverybodyMayPassIsFineAlsoBeforeItExists) {
  if (!is_root_) return;
  EXPECT_TRUE(check(root_ + "/var/lib/site"));
  EXPECT_FALSE(std::filesystem::exists(root_ + "/var")) << "nothing is made";
}

TEST_F(Reachable, AClosedParentIsNamedWithWhatToDo) {
  if (!is_root_) return;
  const std::string closed = root_ + "/home";
  ASSERT_EQ(mkdir(closed.c_str(), 0700), 0);
  ASSERT_EQ(chown(closed.c_str(), 1234, 1234), 0);
  const auto checked = check(closed + "/site/data");
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, "cannot_enter");
  EXPECT_NE(checked.error().message.find(closed + " (of uid 1234, mode 0700)"), std::string::npos)
      << checked.error().message;
  EXPECT_NE(checked.error().next.find("chmod o+x " + closed), std::string::npos);
  EXPECT_FALSE(checked.error().kept.empty());
  ASSERT_EQ(chmod(closed.c_str(), 0711), 0);
  EXPECT_TRUE(check(closed + "/site/data"));
}

TEST_F(Reachable, ADataFolderOfTheSitesOwnGroupIsEntered) {
  if (!is_root_) return;
  const std::string data = root_ + "/data";
  ASSERT_EQ(mkdir(data.c_str(), 0750), 0);
  EXPECT_FALSE(check(data));
  ASSERT_EQ(chown(data.c_str(), 0, user_.gid), 0);
  EXPECT_TRUE(check(data));
}

TEST_F(Reachable, OneUserForAllHasNothingToCheck) {
  user_.separate = false;
  const std::string closed = root_ + "/home";
  ASSERT_EQ(mkdir(closed.c_str(), 0700), 0);
  EXPECT_TRUE(check(closed + "/data"));
}

}  // namespace
}  // namespace everspan::supervisor
