// The commands of the pair against two servers that answer what a test tells them: what is sent,
// what is shown, how the program ends.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>

#include "cli/core/exit_code.h"
#include "cli/files.h"
#include "cli/profile.h"
#include "cli/run.h"
#include "http/testing_server.h"

namespace everspan::cli {
namespace {

namespace json = boost::json;
using http::testing::TestServer;
using net::testing::make_certificate;
using net::testing::TestCertificate;

constexpr const char* kStatus = R"({
  "node":{"id":"3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa","address":"127.0.0.1:1"},
  "role":"primary","why":"established","lineage":"ab12cd34000000000000000000000000","epoch":3,
  "revision":812,"committed_revision":811,"in_sync":["3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa"],
  "stores":[{"node":"3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa","durable":812,"in_sync":true},
            {"node":"9b1c0000bbbbbbbbbbbbbbbbbbbbbbbb","durable":null,"in_sync":false}],
  "peer":{"id":"9b1c0000bbbbbbbbbbbbbbbbbbbbbbbb","address":"127.0.0.2:1","role":"backup",
          "release":"0.1.0","connected":false,"why_not":"refused","last_heard":"2026-11-27T10:00:00Z",
          "last_heard_ms_ago":125000,"clock_ahead_ms":-12},
  "shipping":"catching_up","lag":{"records":12,"bytes":3500,"ms":200},
  "last_in_sync":"2026-11-27T09:59:00Z","journal_missing_bytes":0,"blobs_missing_bytes":null,
  "history":[{"at":"2026-11-27T09:00:00Z","role":"primary","epoch":3,"why":"established"}],
  "nodes":[{"id":"3f2a91c0aaaaaaaaaaaaaaaaaaaaaaaa","address":"127.0.0.1:1","role":"primary"},
           {"id":"9b1c0000bbbbbbbbbbbbbbbbbbbbbbbb","address":"127.0.0.2:1","role":"backup"}]})";

class CliFailover : public ::testing::Test {
 protected:
  struct Node {
    std::mutex mutex;
    std::vector<std::pair<std::string, std::string>> asked;      // "POST /path", body
    std::map<std::string, std::vector<http::Response>> answers;  // The last one stays.
    std::unique_ptr<TestServer> server;

    http::Response answer(const http::Request& request) {
      const std::scoped_lock lock(mutex);
      const std::string what = request.method + " " + request.target;
      asked.emplace_back(what, request.body);
      auto& list = answers[what];
      if (list.empty()) {
        http::Response none;
        none.status = 404;
        none.body = R"({"error":{"code":"not_found","message":"nothing","kept":"","next":""}})";
        return none;
      }
      http::Response out = list.front();
      if (list.size() > 1) list.erase(list.begin());
      return out;
    }
    void answers_with(const std::string& what, std::string body, int status = 200) {
      http::Response out;
      out.status = status;
      out.body = std::move(body);
      answers[what].push_back(std::move(out));
    }
    json::object sent(std::size_t at) {
      const std::scoped_lock lock(mutex);
      return json::parse(asked.at(at).second).as_object();
    }
  };

  void SetUp() override {
    char name[] = "/tmp/everspan-cli-XXXXXX";
    folder_ = mkdtemp(name);
    setenv("EVERSPAN_DATA", folder_.c_str(), 1);
    for (const char* each : {"EVERSPAN_SITE", "EVERSPAN_PROFILE", "EVERSPAN_PASSWORD_FILE"})
      unsetenv(each);
    for (Node* each : {&a_, &b_})
      each->server = std::make_unique<TestServer>(
          root_, leaf_, [each](const http::Request& request) { return each->answer(request); });
    save_login({});
  }
  void TearDown() override {
    unsetenv("EVERSPAN_DATA");
    std::filesystem::remove_all(folder_);
  }
  void save_login(std::vector<std::string> nodes, std::string site = "") {
    Profile profile{.name = "default",
                    .site = site.empty() ? a_.server->address() : std::move(site),
                    .ca_pem = root_.pem(),
                    .nodes = std::move(nodes),
                    .tokens = {}};
    profile.tokens["site"] = {"site-token", "admin", "2030"};
    profile.tokens["appliance"] = {"node-token", "root", "2030"};
    ASSERT_TRUE(save_profile(folder_ + "/profiles", profile));
  }
  static std::string nobody() {
    const auto listener = net::listen_tcp({"127.0.0.1", 0});
    EXPECT_TRUE(listener);
    return net::local_address(listener->get()).text();
  }
  std::string key_file() {
    const std::string path = folder_ + "/key";
    std::ofstream(path) << "the-secret-key\n";
    return path;
  }
  int run_words(std::vector<std::string> words) {
    words.insert(words.begin(), "everspan");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int exit = run(static_cast<int>(words.size()), argv.data(), programs_);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return exit;
  }
  [[nodiscard]] bool shows(const std::string& text) const {
    return out_.find(text) != std::string::npos;
  }
  [[nodiscard]] bool notes(const std::string& text) const {
    return err_.find(text) != std::string::npos;
  }

  TestCertificate root_ = make_certificate("root");
  TestCertificate leaf_ = make_certificate("leaf", &root_, "IP:127.0.0.1");
  std::string folder_;
  Programs programs_;
  Node a_, b_;
  std::string out_;
  std::string err_;
};

TEST_F(CliFailover, StatusSaysWhatIsKnownAndWhatIsNot) {
  a_.answers_with("GET /api/v1/failover", kStatus);
  ASSERT_EQ(run_words({"failover", "status"}), kOk) << err_;
  for (const char* text :
       {"3f2a91c0  127.0.0.1:1  primary  (established)", "9b1c0000  127.0.0.2:1  backup",
        "not connected (refused), heard 2 m 05 s ago, its clock 12 ms behind", "not in sync",
        "12 records, 3.4 KiB, 0.2 s", "2026-11-27T09:59:00Z", "unknown", "this node",
        "epoch 3, revision 811 committed, 812 appended"})
    EXPECT_TRUE(shows(text)) << text << "\n" << out_;
  EXPECT_FALSE(shows("\x1b")) << "colours are for terminals";
  ASSERT_EQ(run_words({"--json", "failover", "status"}), kOk);
  EXPECT_TRUE(json::parse(out_).as_object().contains("lag"));
}

TEST_F(CliFailover, StatusTeachesTheProfileWhereTheNodesAre) {
  a_.answers_with("GET /api/v1/failover", kStatus);
  ASSERT_EQ(run_words({"failover", "status"}), kOk);
  auto profile = load_profile(folder_ + "/profiles", "default");
  ASSERT_TRUE(profile);
  EXPECT_EQ(profile->nodes, (std::vector<std::string>{"127.0.0.1:1", "127.0.0.2:1"}));
  EXPECT_EQ(profile->tokens.at("site").token, "site-token");
}

TEST_F(CliFailover, ACommandWorksWhileOneNodeIsAwayUnlessItIsForThatNode) {
  b_.answers_with("GET /api/v1/failover", kStatus);
  save_login({nobody(), b_.server->address()}, nobody());
  ASSERT_EQ(run_words({"failover", "status"}), kOk) << err_;
  EXPECT_TRUE(notes("does not answer")) << err_;
  b_.answers_with("POST /api/v1/failover/become", "{}");
  EXPECT_EQ(run_words({"--yes", "failover", "become-primary"}), kUnreachable);
  EXPECT_EQ(run_words({"--site", nobody(), "failover", "status"}), kUnreachable)
      << "who names a node means that one";
  EXPECT_EQ(b_.asked.size(), 1U);
}

TEST_F(CliFailover, AWriteFollowsToThePrimaryOnceAndSaysSo) {
  a_.answers_with(
      "PUT /api/v1/settings/motd",
      R"({"error":{"code":"not_primary","message":"m","kept":"","next":"","address":")" +
          b_.server->address() + "\"}}",
      409);
  b_.answers_with("PUT /api/v1/settings/motd", R"({"key":"motd","value":"x","revision":3})");
  ASSERT_EQ(run_words({"settings", "put", "motd", "x"}), kOk) << err_;
  EXPECT_TRUE(notes(b_.server->address())) << err_;
  EXPECT_EQ(b_.asked.size(), 1U);
  EXPECT_EQ(err_.find("token"), std::string::npos);
}

TEST_F(CliFailover, EstablishShowsTheChecksAndStopsAtARefusal) {
  const std::string what = "POST /api/v1/failover/establish";
  a_.answers_with(what, R"({"checks":[{"name":"reach","ok":true,"warning":false,"detail":"yes"},
      {"name":"address","ok":true,"warning":true,"detail":"it is the site's"},
      {"name":"clock","ok":false,"warning":false,"detail":"7 minutes apart"}],
      "established":false,"backup":null,"would":"","refused":{"code":"clock","message":"The clocks differ",
      "kept":"Nothing was changed","next":"Set them"}})");
  EXPECT_EQ(run_words({"failover", "establish", "--backup", "b:1", "--reverse", "a:1", "--key-file",
                       key_file(), "--dry-run"}),
            kRefused);
  for (const char* text : {"ok       reach", "warning  address", "failed   clock"})
    EXPECT_TRUE(shows(text)) << text << "\n" << out_;
  EXPECT_TRUE(notes("Set them")) << err_;
  EXPECT_EQ(a_.sent(0).at("key"), "the-secret-key");
  EXPECT_EQ(a_.sent(0).at("dry_run"), true);
  EXPECT_EQ((out_ + err_).find("the-secret-key"), std::string::npos);
  // Without --yes it checks first, and goes no further.
  EXPECT_EQ(run_words({"failover", "establish", "--backup", "b:1", "--reverse", "a:1"}), kRefused);
  EXPECT_EQ(a_.asked.size(), 2U);
  EXPECT_FALSE(a_.sent(1).contains("key"));
}

TEST_F(CliFailover, EstablishGoesOnWhenToldToAndNamesTheLoserToOverwrite) {
  const std::string what = "POST /api/v1/failover/establish";
  const std::string good = R"({"checks":[],"established":false,"backup":null,
      "would":"It takes a copy","refused":null})";
  const std::string done = R"({"checks":[],"established":true,
      "backup":"9b1c0000bbbbbbbbbbbbbbbbbbbbbbbb","would":"It takes a copy","refused":null})";
  const std::vector<std::string> words = {"failover", "establish", "--backup",
                                          "b:1",      "--reverse", "a:1"};
  a_.answers_with(what, done);
  auto yes = words;
  yes.emplace_back("--yes");
  EXPECT_EQ(run_words(yes), kOk) << err_;
  EXPECT_EQ(a_.sent(0).at("dry_run"), false);
  // To replace a site a yes is not enough.
  a_.answers[what].clear();
  a_.answers_with(what, good);
  a_.answers_with(what, done);
  auto over = yes;
  over.emplace_back("--overwrite-backup");
  over.insert(over.end(), {"--confirm", "wrong:1"});
  EXPECT_EQ(run_words(over), kRefused);
  EXPECT_EQ(a_.asked.size(), 2U);
  a_.answers[what].clear();
  a_.answers_with(what, good);
  a_.answers_with(what, done);
  over.back() = "b:1";
  EXPECT_EQ(run_words(over), kOk) << err_;
  EXPECT_EQ(a_.sent(3).at("overwrite_backup"), true);
  EXPECT_EQ(a_.sent(3).at("dry_run"), false);
}

TEST_F(CliFailover, EstablishAtTheBackupIsNotTakenToThePrimary) {
  a_.answers_with(
      "POST /api/v1/failover/establish",
      R"({"error":{"code":"not_primary","message":"m","kept":"","next":"","address":")" +
          b_.server->address() + "\"}}",
      409);
  EXPECT_EQ(run_words({"--yes", "failover", "establish", "--backup", "b:1", "--reverse", "a:1"}),
            kConflict);
  EXPECT_EQ(a_.asked.size(), 1U);
  EXPECT_TRUE(b_.asked.empty());
}

TEST_F(CliFailover, BecomingPrimaryAloneSaysFirstWhatMayBeLost) {
  const std::string what = "POST /api/v1/failover/become";
  const std::string preview = R"({"done":false,"role":"backup","epoch":3,"lineage":"",
      "may_be_lost":"5 entries since 10:00","token":"t1"})";
  a_.answers_with(what, preview);
  a_.answers_with(what, R"({"done":true,"role":"primary","epoch":1,"lineage":"x","may_be_lost":"",
      "token":""})");
  EXPECT_EQ(run_words({"--yes", "failover", "become-primary", "--even-if-unreachable"}), kUsage)
      << "a yes is not enough where something may be lost, and nobody can be asked";
  EXPECT_TRUE(notes("5 entries since 10:00")) << err_;
  EXPECT_EQ(a_.asked.size(), 1U);
  a_.answers[what].insert(a_.answers[what].begin(), http::Response{});
  a_.answers[what].front().body = preview;
  EXPECT_EQ(run_words({"--confirm", "become-primary", "failover", "become-primary",
                       "--even-if-unreachable"}),
            kOk)
      << err_;
  EXPECT_EQ(a_.sent(2).at("agreed"), "t1");
  EXPECT_EQ(a_.sent(2).at("role"), "primary");
  EXPECT_TRUE(shows("is primary now, epoch 1")) << out_;
}

TEST_F(CliFailover, AHandOverThatIsRefusedKeepsItsExitStatus) {
  const std::string what = "POST /api/v1/failover/become";
  const auto error = [](const std::string& code) {
    return R"({"error":{"code":")" + code + R"(","message":"m","kept":"k","next":"n"}})";
  };
  const std::vector<std::tuple<std::string, int, int>> cases = {
      {"not_in_sync", 409, kConflict},    {"in_doubt", 409, kConflict}, {"no_peer", 409, kConflict},
      {"unreachable", 503, kUnreachable}, {"forbidden", 403, kRefused}, {"busy", 409, kConflict}};
  for (const auto& [code, status, exit] : cases) {
    a_.answers[what].clear();
    a_.answers_with(what, error(code), status);
    EXPECT_EQ(run_words({"--yes", "failover", "become-backup"}), exit) << code;
    EXPECT_TRUE(notes("m. k. n")) << err_;
  }
  EXPECT_EQ(run_words({"failover", "become-backup"}), kUsage) << "nobody can be asked";
}

TEST_F(CliFailover, SyncGoesOnAskingForTheSameEntryAndProvesItAtTheEnd) {
  const std::string what = "POST /api/v1/failover/sync";
  const std::string status(kStatus);
  a_.answers_with(what,
                  R"({"done":false,"target":812,"missing":"12 records","status":)" + status + "}");
  std::string synced = status;
  synced.replace(synced.find(R"("records":12,"bytes":3500)"), 25, R"("records":0,"bytes":0)");
  a_.answers_with(what, R"({"done":true,"target":812,"missing":"","status":)" + synced + "}");
  ASSERT_EQ(run_words({"failover", "sync"}), kOk) << err_;
  EXPECT_TRUE(shows("In sync up to entry 812")) << out_;
  EXPECT_TRUE(shows("none")) << out_;
  EXPECT_FALSE(a_.sent(0).contains("target"));
  EXPECT_EQ(a_.sent(1).at("target"), 812);
  a_.answers[what].clear();
  a_.answers_with(what, R"({"done":false,"target":9,"missing":"1 file","status":)" + status + "}");
  EXPECT_EQ(run_words({"failover", "sync", "--wait", "0s"}), kFailed);
  EXPECT_TRUE(notes("1 file")) << err_;
}

TEST_F(CliFailover, TheKeyIsMadeForTheApplianceAndItsFileIsTheOwnersOnly) {
  const std::string what = "POST /api/v1/appliance/failover/key";
  a_.answers_with(what,
                  R"({"present":true,"fingerprint":"0011 2233","path":"/d/k","key":"sec-ret"})");
  ASSERT_EQ(run_words({"failover", "key", "create"}), kOk) << err_;
  EXPECT_EQ(out_, "sec-ret\n");
  EXPECT_TRUE(notes("0011 2233"));
  const std::string file = folder_ + "/out.key";
  ASSERT_EQ(run_words({"--json", "failover", "key", "create", "--replace", "--out", file}), kOk);
  EXPECT_EQ(out_.find("sec-ret"), std::string::npos);
  EXPECT_EQ(*read_secret_file(file), "sec-ret");
  struct stat info{};
  ASSERT_EQ(stat(file.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  EXPECT_EQ(a_.sent(1).at("replace"), true);
  a_.answers_with("GET /api/v1/appliance/failover/key",
                  R"({"present":true,"fingerprint":"0011 2233","path":"/d/k"})");
  ASSERT_EQ(run_words({"failover", "key", "show"}), kOk);
  EXPECT_TRUE(shows("0011 2233"));
}

TEST_F(CliFailover, BreakAndOrphans) {
  a_.answers_with("POST /api/v1/failover/break", R"({"broken":true,"forgotten":true})");
  EXPECT_EQ(run_words({"failover", "break", "--forget"}), kUsage) << "nobody can be asked";
  EXPECT_EQ(run_words({"--yes", "failover", "break", "--forget"}), kOk);
  EXPECT_EQ(a_.sent(0).at("forget"), true);
  a_.answers_with("GET /api/v1/failover/orphans",
                  R"({"orphans":[{"name":"o-1","bytes":2048,"from":7,"through":9,"at":"T"}]})");
  ASSERT_EQ(run_words({"failover", "orphan", "list"}), kOk);
  EXPECT_TRUE(shows("o-1")) << out_;
  EXPECT_TRUE(shows("2.0 KiB")) << out_;
  a_.answers_with("GET /api/v1/failover/orphans/o-1?after=6&limit=1",
                  R"({"name":"o-1","bytes":1,"from":7,"through":9,"at":"T","more":true,"entries":[
      {"revision":7,"epoch":2,"at":"T","changes":[{"verb":"put","kind":"setting","key":"motd","bytes":3}]}]})");
  ASSERT_EQ(run_words({"failover", "orphan", "show", "o-1", "--after", "6", "--limit", "1"}), kOk)
      << err_;
  EXPECT_TRUE(shows("motd")) << out_;
  EXPECT_TRUE(notes("--after 7")) << err_;
}

TEST_F(CliFailover, HealthOfABackupIsAnAnswerAtOnce) {
  a_.answers_with("GET /healthz", R"({"alive":true})");
  a_.answers_with("GET /readyz",
                  R"({"ready":false,"why":"w","role":"backup","primary":"127.0.0.2:1"})", 503);
  EXPECT_EQ(run_words({"health"}), kUnreachable);
  EXPECT_TRUE(shows("alive, not ready: this node is backup, the primary is 127.0.0.2:1")) << out_;
  EXPECT_EQ(a_.asked.size(), 2U) << "its 503 is the answer, not a hand-over to wait for";
  EXPECT_EQ(run_words({"--json", "health"}), kUnreachable);
  EXPECT_EQ(json::parse(out_).at("primary"), "127.0.0.2:1");
}

TEST_F(CliFailover, UpgradePassesTheMethodOn) {
  a_.answers_with("POST /api/v1/upgrade/plan", R"({"plan":{"steps":[]}})");
  EXPECT_EQ(run_words({"upgrade", "plan", "--method", "sync", "--to", "0.2.0"}), kOk) << err_;
  EXPECT_EQ(a_.sent(0).at("method"), "sync");
}

TEST_F(CliFailover, ConnectGetsTheNodeToDialAndTheOtherNodesToAsk) {
  ConnectCall seen;
  programs_.connect = [&seen](const ConnectCall& call) {
    seen = call;
    return 42;
  };
  save_login({a_.server->address(), b_.server->address()});
  EXPECT_EQ(run_words({"connect", "--via", "backup", "desk"}), 42) << err_;
  EXPECT_EQ(seen.via, "backup");
  EXPECT_EQ(seen.site.other_nodes, std::vector<std::string>{b_.server->address()});
  EXPECT_EQ(run_words({"connect", "desk", "--via", "3f2a", "--", "ls"}), 42) << err_;
  EXPECT_EQ(seen.via, "3f2a");
  EXPECT_EQ(seen.command, std::vector<std::string>{"ls"});
  EXPECT_EQ(run_words({"connect", "--via", "a", "--state-file", "f", "--resume", "desk"}), kUsage);
}

TEST_F(CliFailover, WrongArgumentsAreUsage) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"failover"},
                                             {"failover", "key"},
                                             {"failover", "establish", "--backup", "b:1"},
                                             {"failover", "establish", "--reverse", "b:1"},
                                             {"failover", "orphan", "show"},
                                             {"failover", "sync", "--wait", "soon"},
                                             {"failover", "become-king"}}) {
    EXPECT_EQ(run_words(words), kUsage) << words.back();
  }
  EXPECT_TRUE(a_.asked.empty());
}

}  // namespace
}  // namespace everspan::cli
