#include "agent/identity.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "agent/files.h"

namespace everspan::agent {
namespace {

class IdentityFiles : public testing::Test {
 protected:
  IdentityFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~IdentityFiles() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(IdentityFiles, ComeBackAsTheyWereStoredAndAreClosedToOthers) {
  Identity identity{.name = "box",
                    .site = {.site_id = std::string(16, '\1'),
                             .grant_key = std::string(32, '\2'),
                             .endpoint_id = std::string(16, '\3'),
                             .epoch_seen = 7},
                    .ca_pem = "PEM",
                    .candidates = {{"127.0.0.1", 8443, "node-a"}},
                    .user = "helper"};
  ASSERT_TRUE(store_identity(folder_, identity));
  const auto back = load_identity(folder_);
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->name, "box");
  EXPECT_EQ(back->site.site_id, identity.site.site_id);
  EXPECT_EQ(back->site.grant_key, identity.site.grant_key);
  EXPECT_EQ(back->site.endpoint_id, identity.site.endpoint_id);
  EXPECT_EQ(back->site.epoch_seen, 7U);
  EXPECT_EQ(back->candidates, identity.candidates);
  EXPECT_EQ(back->user, "helper");
  struct stat info{};
  ASSERT_EQ(stat((folder_ + "/agent.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
}

TEST_F(IdentityFiles, ADamagedOneIsAnErrorNotAnEmptyIdentity) {
  EXPECT_EQ(load_identity(folder_).error().code, "not_enrolled");
  ASSERT_TRUE(write_small_file(folder_ + "/agent.json", "{\"site_id\":\"00\"}"));
  EXPECT_FALSE(load_identity(folder_));
  ASSERT_TRUE(write_small_file(folder_ + "/key", "zz"));
  EXPECT_FALSE(load_key(folder_));
}

TEST_F(IdentityFiles, AnEnrolmentNeedsAnEnrolmentToken) {
  ASSERT_TRUE(write_small_file(folder_ + "/token", "not a token\n"));
  const EnrolOptions options{.site = "https://127.0.0.1:1",
                             .token_file = folder_ + "/token",
                             .name = "box",
                             .data = folder_ + "/data",
                             .user = ""};
  EXPECT_EQ(enrol(options).error().code, "bad_token");
  EXPECT_NE(access((folder_ + "/data/key").c_str(), F_OK), 0);
}

TEST_F(IdentityFiles, OneProcessAtATimeHoldsALock) {
  auto first = lock_file(folder_ + "/lock");
  ASSERT_TRUE(first);
  EXPECT_EQ(lock_file(folder_ + "/lock").error().code, "in_use");
  first->reset();
  EXPECT_TRUE(lock_file(folder_ + "/lock"));
}

}  // namespace
}  // namespace everspan::agent
