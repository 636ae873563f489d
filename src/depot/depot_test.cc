// A repository as its own client sees it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "depot/commands.h"
#include "depot/repository.h"
#include "depot/server.h"
#include "update/files.h"
#include "update/package.h"
#include "update/release_info.h"

namespace everspan::depot {
namespace {

namespace fs = std::filesystem;
constexpr WallTime kNow{1795400000000};

class Depot : public ::testing::Test {
 protected:
  Depot() {
    std::string path = fs::temp_directory_path() / "everspan-depot-test-XXXXXX";
    root = ::mkdtemp(path.data());
    dir = root + "/depot";
  }
  ~Depot() override { fs::remove_all(root); }
  std::string package(const std::string& version, const std::string& content) {
    EXPECT_TRUE(update::write_file_atomic(root + "/content", content));
    update::Manifest manifest;
    manifest.kind = "site";
    manifest.version = *Version::parse(version);
    manifest.platform = "linux-x86_64";
    const std::string path = root + "/" + version + ".pkg";
    const auto built =
        update::build_package(manifest, {{"bin/site", root + "/content", 0755}}, path);
    EXPECT_TRUE(built) << built.error().text();
    return path;
  }
  static std::string code(const Result<RepositoryState>& state) {
    return state ? "" : state.error().code;
  }
  std::string root;
  std::string dir;
};

TEST_F(Depot, PublishesWhatAClientVerifies) {
  ASSERT_EQ(code(init_repository(dir, {1}, kNow)), "");
  EXPECT_EQ(code(init_repository(dir, {1}, kNow)), "conflict");
  ASSERT_EQ(code(publish(dir, {package("0.1.0", "one")}, kNow)), "");
  const auto state = publish(dir, {package("0.2.0", "two")}, kNow);
  ASSERT_EQ(code(state), "");
  EXPECT_EQ(state->packages.size(), 2U);
  EXPECT_EQ(state->targets, 3);
  EXPECT_FALSE(state->warnings.empty()) << "1 of 1 is told";
  EXPECT_EQ(code(verify_repository(dir, kNow)), "");
  EXPECT_EQ(publish(dir, {package("0.2.0", "two")}, kNow)->targets, 3)
      << "the same again changes nothing";
  EXPECT_EQ(code(publish(dir, {package("0.2.0", "other")}, kNow)), "conflict");
}

TEST_F(Depot, KeepsItsKeysToItself) {
  ASSERT_EQ(code(init_repository(dir, {2}, kNow)), "");
  int keys = 0;
  for (const auto& entry : fs::directory_iterator(dir + "/keys")) {
    struct stat info{};
    ASSERT_EQ(::stat(entry.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600U) << entry.path();
    keys += 1;
  }
  EXPECT_EQ(keys, 8) << "3 root, 3 targets, snapshot, timestamp";
}

TEST_F(Depot, NeedsTheThresholdOfKeys) {
  ASSERT_EQ(code(init_repository(dir, {2}, kNow)), "");
  fs::remove(dir + "/keys/targets-1.key");
  EXPECT_EQ(code(publish(dir, {package("0.1.0", "one")}, kNow)), "") << "two of three are enough";
  fs::remove(dir + "/keys/targets-2.key");
  EXPECT_EQ(code(publish(dir, {package("0.2.0", "two")}, kNow)), "missing_keys");
  EXPECT_EQ(code(verify_repository(dir, kNow)), "");
  EXPECT_EQ(code(refresh_timestamp(dir, kNow)), "");
}

TEST_F(Depot, VerifyFindsEveryKindOfDamage) {
  ASSERT_EQ(code(init_repository(dir, {1}, kNow)), "");
  ASSERT_EQ(code(publish(dir, {package("0.1.0", "one")}, kNow)), "");
  const auto target = fs::directory_iterator(dir + "/repository/targets")->path().string();
  const auto good = *update::read_file(target, 1U << 20);
  ASSERT_TRUE(update::write_file_atomic(target, good.substr(0, good.size() / 2)));
  EXPECT_EQ(code(verify_repository(dir, kNow)), "bad_package");
  ASSERT_TRUE(update::write_file_atomic(target, good));
  EXPECT_EQ(code(verify_repository(dir, kNow)), "");
  EXPECT_EQ(code(verify_repository(dir, kNow.after(std::chrono::hours(24 * 8)))), "expired");
  const std::string snapshot = dir + "/repository/2.snapshot.json";
  ASSERT_TRUE(update::write_file_atomic(snapshot, *update::read_file(snapshot, 1U << 20) + " "));
  EXPECT_EQ(code(verify_repository(dir, kNow)), "too_large");
  fs::remove(snapshot);
  EXPECT_EQ(code(verify_repository(dir, kNow)), "missing_metadata");
}

TEST_F(Depot, RefreshSignsAnewWhatIsOld) {
  ASSERT_EQ(code(init_repository(dir, {1}, kNow)), "");
  const auto soon = refresh_timestamp(dir, kNow.after(std::chrono::hours(24)));
  ASSERT_EQ(code(soon), "");
  EXPECT_EQ(soon->timestamp, 2);
  EXPECT_EQ(soon->snapshot, 1);
  const WallTime late = kNow.after(std::chrono::hours(24 * 80));
  const auto all = refresh_timestamp(dir, late);
  ASSERT_EQ(code(all), "");
  EXPECT_EQ(all->snapshot, 2);
  EXPECT_EQ(all->targets, 2);
  EXPECT_EQ(code(verify_repository(dir, late)), "");
}

TEST_F(Depot, APackageSaysTheLevelsThatItsProgramSays) {
  const auto build = [&](const std::string& content, std::vector<std::string> more) {
    EXPECT_TRUE(update::write_file_atomic(root + "/everspan-site", content));
    std::vector<std::string> words{"everspan-depot", "build-package", "--version",
                                   "0.2.0",          "--out",         root + "/p.pkg"};
    words.insert(words.end(), more.begin(), more.end());
    words.push_back(root + "/everspan-site");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    testing::internal::CaptureStdout();
    const int exit = run_depot(static_cast<int>(argv.size()), argv.data());
    testing::internal::GetCapturedStdout();
    EXPECT_EQ(exit, 0);
    return update::read_package_manifest(root + "/p.pkg").value().manifest;
  };
  constexpr auto kText = update::release_info_text({.wire_max = 2, .feature_level = 2});
  const std::string next(kText.begin(), kText.end());
  EXPECT_EQ(build("ELF " + next, {}).feature_level, 2U);
  EXPECT_EQ(build("ELF " + next, {}).wire_max, 2U);
  EXPECT_EQ(build("ELF of release 0.1.0", {}).feature_level, 1U);
  EXPECT_EQ(build("ELF " + next, {"--feature-level", "3"}).feature_level, 3U);
}

class Files : public Depot {
 protected:
  http::Response get(std::string path, std::string range = "", std::string method = "GET") {
    http::Request request;
    request.method = std::move(method);
    request.path = path;
    const auto segments = http::split_path(path);
    if (segments) request.segments = *segments;
    if (!range.empty()) request.headers["range"] = std::move(range);
    http::Response out;
    StaticFiles files(root);
    net::asio::io_context loop;
    net::TaskScope scope(loop.get_executor());
    scope.spawn("get", take(files, std::move(request), out));
    loop.run();
    return out;
  }
  static net::Task<void> take(StaticFiles& files, http::Request request, http::Response& out) {
    out = co_await files.handle(std::move(request));
  }
};

TEST_F(Files, ServesWholeFilesAndSingleRanges) {
  ASSERT_TRUE(update::write_file_atomic(root + "/f", "0123456789"));
  EXPECT_EQ(get("/f").body, "0123456789");
  const std::tuple<const char*, int, const char*> cases[] = {{"bytes=4-", 206, "456789"},
                                                             {"bytes=2-3", 206, "23"},
                                                             {"bytes=-3", 206, "789"},
                                                             {"bytes=8-99", 206, "89"},
                                                             {"bytes=-99", 206, "0123456789"},
                                                             {"bytes=3-2", 200, "0123456789"},
                                                             {"bytes=0-1,4-5", 200, "0123456789"},
                                                             {"lines=1-", 200, "0123456789"},
                                                             {"bytes=x-", 200, "0123456789"}};
  for (const auto& [range, status, body] : cases) {
    const auto response = get("/f", range);
    EXPECT_EQ(response.status, status) << range;
    EXPECT_EQ(response.body, body) << range;
  }
  EXPECT_EQ(get("/f", "bytes=10-").status, 416);
  EXPECT_EQ(get("/f", "bytes=-0").status, 416);
  EXPECT_EQ(get("/f", "", "POST").status, 405);
}

TEST_F(Files, ServesNothingElse) {
  ASSERT_TRUE(update::make_dirs(root + "/sub/deep/er"));
  ASSERT_TRUE(update::write_file_atomic(root + "/sub/deep/er/f", "x"));
  ASSERT_TRUE(update::write_file_atomic(root + "/.hidden", "x"));
  fs::create_symlink("/etc/passwd", root + "/link");
  for (const char* path :
       {"/link", "/sub", "/sub/deep/er/f", "/.hidden", "/", "/none", "/../etc/passwd"})
    EXPECT_EQ(get(path).status, 404) << path;
}

}  // namespace
}  // namespace everspan::depot
