// Packages and releases that must be refused, and that a refusal leaves nothing behind.
#include "update/verify.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "update/client.h"
#include "update/core/test_repository.h"
#include "update/files.h"
#include "update/package.h"

namespace everspan::update {
namespace {

namespace fs = std::filesystem;
using testing::kDay;
using testing::kNow;
using testing::Repository;

class TempDir {
 public:
  TempDir() {
    std::string path = fs::temp_directory_path() / "everspan-update-XXXXXX";
    path_ = ::mkdtemp(path.data());
  }
  ~TempDir() { fs::remove_all(path_); }
  [[nodiscard]] std::string at(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void put(const std::string& path, std::string_view bytes) {
  ASSERT_TRUE(make_dirs(parent_of(path)));
  ASSERT_TRUE(write_file_atomic(path, bytes));
}
std::string read_text(const std::string& path) {
  const auto bytes = read_file(path, 64U << 20);
  return bytes ? *bytes : "";
}

// Serves files of a map as if over HTTP; may end early.
class MapFetcher : public Fetcher {
 public:
  explicit MapFetcher(std::map<std::string, std::string>& files) : files_(files) {}
  Result<void> get(const std::string& url, std::uint64_t from, std::uint64_t bytes_max,
                   const Sink& sink) override {
    const auto file = files_.find(url);
    if (file == files_.end()) return fail("not_found", url);
    if (!ranges) from = 0;
    std::string data = file->second.substr(from, cut_after);
    if (from + data.size() > bytes_max) return fail("too_large", url);
    served += data.size();
    const auto used = sink(from, as_bytes(data));
    if (!used) return used;
    if (from + data.size() < file->second.size()) return fail("unreachable", "the line broke");
    return {};
  }
  bool ranges = true;
  std::size_t cut_after = std::string::npos;
  std::size_t served = 0;

 private:
  std::map<std::string, std::string>& files_;
};

class Verify : public ::testing::Test {
 protected:
  Verify() {
    put(dir.at("in/site"), std::string(300000, 'S') + "end");
    put(dir.at("in/notes"), "hello");
    manifest.kind = "site";
    manifest.version = *Version::parse("0.2.0");
    manifest.platform = "linux-x86_64";
    manifest.wire_min = manifest.wire_max = manifest.log_format = manifest.feature_level = 1;
    manifest.security_floor = *Version::parse("0.1.0");
    build();
    put(dir.at("trust/root.json"), repo.root(1));
  }
  void build() {
    const auto built = build_package(
        manifest, {{"bin/site", dir.at("in/site"), 0755}, {"doc/notes", dir.at("in/notes"), 0644}},
        dir.at("package"));
    ASSERT_TRUE(built) << built.error().text();
    stats = *built;
    sign_package(1);
  }
  // Signs whatever dir/package is now.
  void sign_package(std::int64_t version) {
    const std::string bytes = read_text(dir.at("package"));
    repo.publish(
        version,
        {{"p.pkg", Json(Json::Object{{"length", static_cast<std::int64_t>(bytes.size())},
                                     {"hashes", Json(Json::Object{{"sha256", sha256_hex(bytes)}})},
                                     {"custom", manifest_summary(manifest, stats.digest)}})}});
    lay_out();
  }
  void lay_out() {
    for (const auto& [name, bytes] : repo.files) put(dir.at("metadata/" + name), bytes);
  }
  VerifyRequest request() const {
    VerifyRequest r;
    r.trust_dir = dir.at("trust");
    r.metadata_dir = dir.at("metadata");
    r.target_name = "p.pkg";
    r.package_path = dir.at("package");
    r.out_dir = dir.at("out");
    r.now = kNow;
    r.platform = "linux-x86_64";
    return r;
  }
  // The code of the refusal; checks that nothing was left and nothing was trusted.
  std::string refused(const VerifyRequest& r) {
    const std::string timestamp = read_text(r.trust_dir + "/timestamp.json");
    const auto done = verify_release(r);
    if (done) return "";
    EXPECT_FALSE(fs::exists(r.out_dir)) << done.error().text();
    EXPECT_EQ(read_text(r.trust_dir + "/timestamp.json"), timestamp);
    return done.error().code;
  }

  TempDir dir;
  Repository repo;
  Manifest manifest;
  PackageStats stats;
};

TEST_F(Verify, UnpacksAGoodReleaseAndTrustsTheNewMetadata) {
  const auto done = verify_release(request());
  ASSERT_TRUE(done) << done.error().text();
  EXPECT_EQ(done->digest, stats.digest);
  EXPECT_EQ(done->manifest.version.text(), "0.2.0");
  EXPECT_EQ(read_text(dir.at("out/bin/site")), std::string(300000, 'S') + "end");
  EXPECT_EQ(sha256_hex(read_text(dir.at("out/manifest.json"))), stats.digest);
  EXPECT_EQ(fs::status(dir.at("out/bin/site")).permissions(), fs::perms(0755));
  EXPECT_EQ(read_text(dir.at("trust/timestamp.json")), repo.files["timestamp.json"]);
  const auto checked = check_release_dir(dir.at("out"));
  ASSERT_TRUE(checked) << checked.error().text();
  EXPECT_EQ(checked->digest, stats.digest);
}

TEST_F(Verify, TheSameInputGivesTheSamePackage) {
  const std::string first = stats.sha256;
  build();
  EXPECT_EQ(stats.sha256, first);
}

TEST_F(Verify, FindsAChangedReleaseFolder) {
  ASSERT_TRUE(verify_release(request()));
  put(dir.at("out/doc/notes"), "hellO");
  EXPECT_EQ(check_release_dir(dir.at("out")).error().code, "bad_hash");
  put(dir.at("out/doc/notes"), "hello");
  put(dir.at("out/doc/more"), "x");
  EXPECT_EQ(check_release_dir(dir.at("out")).error().code, "bad_package");
}

TEST_F(Verify, RefusesATamperedATruncatedAndALongerPackage) {
  const std::string good = read_text(dir.at("package"));
  std::string bad = good;
  bad[bad.size() / 2] ^= 1;
  put(dir.at("package"), bad);
  EXPECT_EQ(refused(request()), "bad_hash");
  put(dir.at("package"), good.substr(0, good.size() - 1));
  EXPECT_EQ(refused(request()), "truncated");
  put(dir.at("package"), good + "x");
  EXPECT_EQ(refused(request()), "bad_hash");
  put(dir.at("package"), good);
  EXPECT_EQ(refused(request()), "");
}

TEST_F(Verify, RefusesStrangeKeysOlderAndExpiredMetadata) {
  Repository stranger;
  repo.files["timestamp.json"] = stranger.files["timestamp.json"];
  lay_out();
  EXPECT_EQ(refused(request()), "unknown_key");
  sign_package(3);
  ASSERT_TRUE(verify_release(request()));
  fs::remove_all(dir.at("out"));
  sign_package(2);
  EXPECT_EQ(refused(request()), "rollback");
  sign_package(4);
  VerifyRequest late = request();
  late.now = WallTime{kNow.unix_ms + 11 * kDay};
  EXPECT_EQ(refused(late), "expired");
}

TEST_F(Verify, RefusesAnotherPlatformAnUnknownTargetAndTheFloor) {
  VerifyRequest r = request();
  r.platform = "linux-riscv64";
  EXPECT_EQ(refused(r), "wrong_platform");
  r = request();
  r.target_name = "../p.pkg";
  EXPECT_EQ(refused(r), "unknown_target");
  r = request();
  r.security_floor = "0.2.1";
  EXPECT_EQ(refused(r), "below_floor");
  r = request();
  fs::remove(dir.at("trust/root.json"));
  EXPECT_EQ(refused(r), "no_trust");
}

TEST_F(Verify, LeavesTheTrustToAnotherFolderWhenAsked) {
  put(dir.at("new/keep"), "");
  VerifyRequest r = request();
  r.new_trust_dir = dir.at("new");
  ASSERT_TRUE(verify_release(r));
  EXPECT_FALSE(fs::exists(dir.at("trust/timestamp.json")));
  ASSERT_TRUE(adopt_trust(dir.at("trust"), dir.at("new"), kNow));
  EXPECT_EQ(read_text(dir.at("trust/timestamp.json")), repo.files["timestamp.json"]);
  // Foreign files in the folder are not adopted.
  put(dir.at("new/timestamp.json"), Repository().files["timestamp.json"]);
  EXPECT_FALSE(adopt_trust(dir.at("trust"), dir.at("new"), kNow));
}

// Runs `verify_release` in a child whose files may not grow beyond `bytes`; returns its code.
std::string verify_with_little_disk(const VerifyRequest& r, rlim_t bytes) {
  int ends[2];
  if (::pipe(ends) != 0) return "pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, bytes};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto done = verify_release(r);
    const std::string code = done ? "ok" : done.error().code;
    const bool told =
        ::write(ends[1], code.data(), code.size()) == static_cast<ssize_t>(code.size());
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  char buffer[64];
  const ssize_t got = ::read(ends[0], buffer, sizeof buffer);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : "";
}

TEST_F(Verify, SaysDiskFullAndLeavesNothing) {
  EXPECT_EQ(verify_with_little_disk(request(), 100000), "disk_full");
  EXPECT_FALSE(fs::exists(dir.at("out")));
  EXPECT_FALSE(fs::exists(dir.at("trust/timestamp.json")));
  EXPECT_EQ(verify_with_little_disk(request(), 10000000), "ok");
}

// Archives that a depot with a stolen key could sign.
struct Entry {
  std::string path;
  std::string data;
  int type = AE_IFREG;
  std::string link;
};

void write_archive(const std::string& path, const std::vector<Entry>& entries) {
  archive* a = archive_write_new();
  archive_write_add_filter_zstd(a);
  archive_write_set_format_pax_restricted(a);
  ASSERT_EQ(archive_write_open_filename(a, path.c_str()), ARCHIVE_OK);
  for (const Entry& e : entries) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, e.path.c_str());
    archive_entry_set_filetype(entry, static_cast<unsigned>(e.type));
    archive_entry_set_perm(entry, 0644);
    if (e.type == AE_IFLNK) archive_entry_set_symlink(entry, e.link.c_str());
    if (e.type == AE_IFREG && !e.link.empty()) archive_entry_set_hardlink(entry, e.link.c_str());
    const bool plain = e.type == AE_IFREG && e.link.empty();
    archive_entry_set_size(entry, plain ? static_cast<std::int64_t>(e.data.size()) : 0);
    ASSERT_EQ(archive_write_header(a, entry), ARCHIVE_OK) << e.path;
    if (plain) archive_write_data(a, e.data.data(), e.data.size());
    archive_entry_free(entry);
  }
  ASSERT_EQ(archive_write_close(a), ARCHIVE_OK);
  archive_write_free(a);
}

TEST_F(Verify, RefusesEveryTrickInAnArchive) {
  manifest.files = {{"a/file", 5, sha256_hex("hello"), 0644}};
  const Entry head{"manifest.json", write_manifest(manifest)};
  const Entry good{"a/file", "hello"};
  const std::pair<const char*, std::vector<Entry>> tricks[] = {
      {"no manifest", {good}},
      {"manifest not first", {good, head}},
      {"file missing", {head}},
      {"one file too many", {head, good, {"b", "x"}}},
      {"a file twice", {head, good, good}},
      {"another name", {head, {"a/other", "hello"}}},
      {"outside", {head, {"../../evil", "hello"}}},
      {"absolute", {head, {"/tmp/everspan-evil", "hello"}}},
      {"dotted", {head, {"./a/file", "hello"}}},
      {"longer", {head, {"a/file", "hello!"}}},
      {"shorter", {head, {"a/file", "hell"}}},
      {"a folder first", {head, {"a", "", AE_IFDIR}, good}},
      {"symlink for a folder", {head, {"a", "", AE_IFLNK, "/tmp"}, good}},
      {"symlink for the file", {head, {"a/file", "", AE_IFLNK, "/etc/passwd"}}},
      {"hard link", {head, {"a/file", "", AE_IFREG, "manifest.json"}}},
      {"fifo", {head, {"a/file", "", AE_IFIFO}}},
      {"manifest as link", {{"manifest.json", "", AE_IFLNK, "/etc/passwd"}, good}},
      {"huge manifest", {{"manifest.json", std::string(2U << 20, ' ')}, good}},
      {"not JSON", {{"manifest.json", "{"}, good}},
  };
  for (const auto& [what, entries] : tricks) {
    SCOPED_TRACE(what);
    write_archive(dir.at("package"), entries);
    sign_package(1);
    EXPECT_EQ(refused(request()), "bad_package");
  }
  write_archive(dir.at("package"), {head, {"a/file", "hellO"}});
  sign_package(1);
  EXPECT_EQ(refused(request()), "bad_hash");
  put(dir.at("package"), "this is no archive");
  sign_package(1);
  EXPECT_EQ(refused(request()), "bad_package");
  write_archive(dir.at("package"), {head, good});
  sign_package(1);
  EXPECT_EQ(refused(request()), "");
}

class Client : public Verify {
 protected:
  Client() {
    serve();
    EXPECT_TRUE(UpdateClient::init(dir.at("client"), repo.root(1)));
  }
  void serve() {
    for (const auto& [name, bytes] : repo.files) web["m/" + name] = bytes;
    const std::string bytes = read_text(dir.at("package"));
    web["t/" + sha256_hex(bytes) + ".p.pkg"] = bytes;
  }
  std::map<std::string, std::string> web;
  MapFetcher fetcher{web};
};

TEST_F(Client, ItsFolderIsWhatBaseVerifies) {
  UpdateClient client(dir.at("client"));
  ASSERT_TRUE(client.refresh(fetcher, "m", kNow));
  const auto releases = client.releases();
  ASSERT_EQ(releases.size(), 1U);
  EXPECT_EQ(releases[0].digest, stats.digest);
  EXPECT_EQ(releases[0].manifest.version.text(), "0.2.0");
  const auto path = client.download(fetcher, "t", "p.pkg", dir.at("incoming"));
  ASSERT_TRUE(path) << path.error().text();
  VerifyRequest r = request();
  r.metadata_dir = dir.at("client");
  r.package_path = *path;
  const auto done = verify_release(r);
  EXPECT_TRUE(done) << done.error().text();
}

TEST_F(Client, GoesOnAfterABrokenLineAndDoesNotAskTwice) {
  UpdateClient client(dir.at("client"));
  ASSERT_TRUE(client.refresh(fetcher, "m/", kNow));
  const std::uint64_t length = stats.bytes;
  fetcher.served = 0;
  fetcher.cut_after = 100;
  EXPECT_EQ(client.download(fetcher, "t", "p.pkg", dir.at("incoming")).error().code, "unreachable");
  fetcher.cut_after = std::string::npos;
  ASSERT_TRUE(client.download(fetcher, "t", "p.pkg", dir.at("incoming")));
  EXPECT_EQ(fetcher.served, length);
  ASSERT_TRUE(client.download(fetcher, "t", "p.pkg", dir.at("incoming")));
  EXPECT_EQ(fetcher.served, length) << "a complete file is kept";

  // A server without ranges, and a part that is wrong.
  fs::remove_all(dir.at("incoming"));
  fetcher.cut_after = 100;
  EXPECT_FALSE(client.download(fetcher, "t", "p.pkg", dir.at("incoming")));
  fetcher.cut_after = std::string::npos;
  fetcher.ranges = false;
  EXPECT_TRUE(client.download(fetcher, "t", "p.pkg", dir.at("incoming")));
  fs::remove_all(dir.at("incoming"));
  put(dir.at("incoming/p.pkg.part"), std::string(50, 'x'));
  fetcher.ranges = true;
  EXPECT_EQ(client.download(fetcher, "t", "p.pkg", dir.at("incoming")).error().code, "bad_hash");
  EXPECT_TRUE(client.download(fetcher, "t", "p.pkg", dir.at("incoming"))) << "then it begins anew";
}

TEST_F(Client, RefusesTamperedAndEndlessDownloads) {
  UpdateClient client(dir.at("client"));
  ASSERT_TRUE(client.refresh(fetcher, "m", kNow));
  for (auto& [name, bytes] : web)
    if (name.ends_with(".p.pkg")) bytes[10] ^= 1;
  EXPECT_EQ(client.download(fetcher, "t", "p.pkg", dir.at("incoming")).error().code, "bad_hash");
  for (auto& [name, bytes] : web)
    if (name.ends_with(".p.pkg")) bytes += "more";
  EXPECT_EQ(client.download(fetcher, "t", "p.pkg", dir.at("incoming")).error().code, "too_large");
  EXPECT_FALSE(fs::exists(dir.at("incoming/p.pkg")));
}

TEST_F(Client, KeepsItsTrustAndRefusesAnotherRoot) {
  EXPECT_TRUE(UpdateClient::init(dir.at("client"), repo.root(1)));
  EXPECT_EQ(UpdateClient::init(dir.at("client"), Repository().root(1)).error().code, "conflict");
  EXPECT_EQ(UpdateClient::init(dir.at("other"), "{}").error().code, "no_trust");
  UpdateClient client(dir.at("client"));
  EXPECT_FALSE(client.load(kNow)) << "nothing fetched yet";
  ASSERT_TRUE(client.refresh(fetcher, "m", kNow));
  UpdateClient again(dir.at("client"));
  EXPECT_TRUE(again.load(kNow));
  EXPECT_EQ(again.releases().size(), 1U);
}

}  // namespace
}  // namespace everspan::update
