// The program as a whole, as far as it goes without a site: arguments, profiles, errors.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "cli/core/exit_code.h"
#include "cli/files.h"
#include "cli/profile.h"
#include "cli/run.h"
#include "net/address.h"
#include "net/socket.h"

namespace everspan::cli {
namespace {

class Cli : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/everspan-cli-XXXXXX";
    folder_ = mkdtemp(name);
    setenv("EVERSPAN_DATA", folder_.c_str(), 1);
    for (const char* each : {"EVERSPAN_SITE", "EVERSPAN_PROFILE", "EVERSPAN_PASSWORD_FILE"}) {
      unsetenv(each);
    }
    programs_.connect = [this](const ConnectCall& call) {
      connect_ = call;
      return 42;
    };
    programs_.tunnel = [this](const TunnelCall& call) {
      tunnel_ = call;
      return 0;
    };
  }
  void TearDown() override {
    unsetenv("EVERSPAN_DATA");
    std::filesystem::remove_all(folder_);
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
  void save_login(const std::string& site) {
    Profile profile{.name = "default", .site = site, .ca_pem = "a CA", .tokens = {}};
    profile.tokens["site"] = {"secret-token", "admin", "2030"};
    ASSERT_TRUE(save_profile(folder_ + "/profiles", profile));
  }

  std::string folder_;
  Programs programs_;
  ConnectCall connect_;
  TunnelCall tunnel_;
  std::string out_;
  std::string err_;
};

TEST_F(Cli, WrongArgumentsAreUsage) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {"nonsense"},
                                             {"settings"},
                                             {"settings", "get"},
                                             {"endpoint", "note", "web"},
                                             {"login", "--area", "moon"},
                                             {"upgrade", "apply", "--soak", "soon"},
                                             {"--timeout", "x", "status"},
                                             {"status", "--", "ls"},
                                             {"journal", "--limit", "0"},
                                             {"user", "add"},
                                             {"user", "grant", "bob", "moon"},
                                             {"user", "grant", "bob"},
                                             {"user", "add", "bob", "--password", "secret"},
                                             {"--profile", "../x", "status"}}) {
    EXPECT_EQ(run_words(words), kUsage) << (words.empty() ? "" : words[0]);
  }
  EXPECT_EQ(run_words({"--help"}), kOk);
  EXPECT_EQ(run_words({"upgrade", "apply", "--help"}), kOk);
}

TEST_F(Cli, WithoutALogInCommandsSayWhatToDo) {
  EXPECT_EQ(run_words({"status"}), kUsage);
  EXPECT_NE(err_.find("everspan login"), std::string::npos);
  EXPECT_EQ(run_words({"--site", "127.0.0.1:1", "status"}), kRefused);
  EXPECT_EQ(run_words({"--site", "127.0.0.1:1", "--json", "status"}), kRefused);
  EXPECT_NE(err_.find(R"("code":"refused")"), std::string::npos);
  EXPECT_EQ(run_words({"--site", "127.0.0.1:1", "connect", "laptop"}), kRefused);
}

TEST_F(Cli, ASiteThatDoesNotAnswerIsUnreachable) {
  net::Address nobody;
  {
    const auto listener = net::listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    nobody = net::local_address(listener->get());
  }
  save_login(nobody.text());
  EXPECT_EQ(run_words({"status"}), kUnreachable);
  EXPECT_EQ(err_.find("secret-token"), std::string::npos);
}

TEST_F(Cli, ConnectPassesTheRemoteCommandUntouchedAndItsStatusBack) {
  save_login("127.0.0.1:8443");
  EXPECT_EQ(run_words({"connect", "laptop", "-T", "--", "sh", "-c", "echo --json; exit 1", "--"}),
            42);
  EXPECT_EQ(connect_.endpoint, "laptop");
  EXPECT_TRUE(connect_.no_terminal);
  EXPECT_EQ(connect_.command, (std::vector<std::string>{"sh", "-c", "echo --json; exit 1", "--"}));
  EXPECT_EQ(connect_.site.host, "127.0.0.1");
  EXPECT_EQ(connect_.site.port, 8443);
  EXPECT_EQ(connect_.site.token, "secret-token");
  EXPECT_EQ(connect_.site.ca_pem, "a CA");
}

TEST_F(Cli, WordsBehindTheEndpointsNameAreALineForTheShellThereAsOfSsh) {
  save_login("127.0.0.1:8443");
  const auto line = [this](std::vector<std::string> words) {
    connect_ = {};
    EXPECT_EQ(run_words(std::move(words)), 42) << err_;
    return connect_.command;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(line({"connect", "-T", "laptop", "rsync", "--server", "-e.x", ".", "/a\\ b"}),
            Words{"rsync --server -e.x . /a\\ b"});
  EXPECT_TRUE(connect_.no_terminal);
  EXPECT_EQ(connect_.endpoint, "laptop");
  EXPECT_EQ(line({"--profile", "default", "connect", "--reason", "a b", "laptop", "-T",
                  "git-upload-pack '/x'"}),
            Words{"git-upload-pack '/x'"});
  EXPECT_EQ(connect_.reason, "a b");
  EXPECT_TRUE(connect_.no_terminal);
  EXPECT_EQ(line({"connect", "laptop", "status", "-T", "--", "--json"}),
            Words{"status -T -- --json"});
  EXPECT_FALSE(connect_.no_terminal);
  EXPECT_EQ(line({"connect", "laptop"}), Words{});
  EXPECT_EQ(run_words({"connect", "-l", "me", "laptop", "ls"}), kUsage);
}

TEST_F(Cli, TunnelTakesItsAddressApart) {
  save_login("127.0.0.1:8443");
  EXPECT_EQ(run_words({"tunnel", "laptop", "8080:intranet:80"}), kOk);
  EXPECT_EQ(tunnel_.listen, "127.0.0.1:8080");
  EXPECT_EQ(tunnel_.host, "intranet");
  EXPECT_EQ(tunnel_.port, 80);
  EXPECT_EQ(run_words({"tunnel", "laptop", "--stdio", "intranet:80"}), kOk);
  EXPECT_EQ(tunnel_.listen, "");
  EXPECT_TRUE(tunnel_.stdio);
  EXPECT_EQ(run_words({"tunnel", "laptop", "intranet"}), kUsage);
}

TEST_F(Cli, GlobalsMayStandBeforeAndBehindTheCommand) {
  save_login("127.0.0.1:8443");
  EXPECT_EQ(run_words({"connect", "a", "--site", "127.0.0.2:9000"}), 42);
  EXPECT_EQ(connect_.site.host, "127.0.0.2");
  EXPECT_EQ(run_words({"--site", "https://127.0.0.3:9000/", "connect", "a"}), 42);
  EXPECT_EQ(connect_.site.host, "127.0.0.3");
}

TEST_F(Cli, CommandsThatMainDoesNotProvideAreNotThere) {
  programs_.connect = nullptr;
  EXPECT_EQ(run_words({"connect", "a"}), kUsage);
}

TEST_F(Cli, CompletionsKnowTheCommands) {
  EXPECT_EQ(run_words({"completions", "bash"}), kOk);
  EXPECT_NE(out_.find("'upgrade apply') word='"), std::string::npos);
  EXPECT_NE(out_.find("--soak"), std::string::npos);
  std::ofstream(folder_ + "/completion.bash") << out_ << R"(
COMP_WORDS=(everspan --json upgrade ap); COMP_CWORD=3; _everspan; [[ ${COMPREPLY[*]} == apply ]] || exit 1
COMP_WORDS=(everspan sta); COMP_CWORD=1; _everspan; [[ ${COMPREPLY[*]} == status ]] || exit 2
)";
  EXPECT_EQ(system(("bash '" + folder_ + "/completion.bash'").c_str()), 0);
}

TEST_F(Cli, AProfileComesBackAsItWasAndOnlyItsOwnerCanReadIt) {
  const std::string folder = folder_ + "/new/profiles";
  Profile profile{.name = "demo", .site = "h:1", .ca_pem = "pem\n\"x\"", .tokens = {}};
  profile.tokens["appliance"] = {"t", "a", "e"};
  ASSERT_TRUE(save_profile(folder, profile));
  const auto back = load_profile(folder, "demo");
  ASSERT_TRUE(back);
  EXPECT_EQ(back->site, profile.site);
  EXPECT_EQ(back->ca_pem, profile.ca_pem);
  EXPECT_EQ(back->tokens.at("appliance").token, "t");
  struct stat info{};
  ASSERT_EQ(stat((folder + "/demo.json").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  ASSERT_EQ(stat(folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700U);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  std::ofstream(folder + "/demo.json") << "{broken";
  EXPECT_FALSE(load_profile(folder, "demo"));
}

TEST(Site, IsWrittenInThreeWays) {
  EXPECT_EQ(*site_address("https://node.test:9/"), "node.test:9");
  EXPECT_EQ(*site_address("node.test:9"), "node.test:9");
  EXPECT_EQ(*site_address("node.test"), "node.test:8443");
  for (const char* bad : {"", "http://node.test", "https://", "node.test:0x", "a/b"}) {
    EXPECT_FALSE(site_address(bad)) << bad;
  }
}

}  // namespace
}  // namespace everspan::cli
