// The API in this process, over a real log, journal and read model, with small fakes for what lies
// above: live legs, node, upgrade, updates.
#pragma once
#include <boost/asio/thread_pool.hpp>
#include <boost/json.hpp>
#include <mutex>
#include <set>

#include "access/passwords.h"
#include "api/api.h"
#include "api/test_support/fake_failover.h"
#include "site/accounts.h"
#include "site/endpoints.h"
#include "site/test_support/local_site.h"
#include "store/journal.h"

namespace everspan::api {

namespace json = boost::json;

struct FakeLive : LiveService {
  bool online = true;
  bool refuse_open = false;
  std::vector<SessionId> opened, ended;
  std::vector<EndpointId> closed;
  LiveSnapshot now;

  net::Task<Result<LiveSnapshot>> snapshot() override { co_return now; }
  bool agent_online(const EndpointId&) override { return online; }
  Result<void> open_session(const EndpointId&, const std::string&) override {
    if (refuse_open) return fail("endpoint_offline", "It went away");
    opened.emplace_back();
    return {};
  }
  void end_session(const SessionId& session, const std::string&) override {
    ended.push_back(session);
  }
  void close_endpoint(const EndpointId& endpoint) override { closed.push_back(endpoint); }
  std::vector<net::Address> candidates() override { return {{"127.0.0.1", 8443}}; }
  net::Task<Result<std::vector<Check>>> verify() override {
    co_return std::vector<Check>{{"probe session", true, ""}, {"log", online, "as online"}};
  }
};

struct FakeNode : NodeService {
  bool serving = true;
  bool own_address = true;

  net::Task<Result<NodeStatus>> status() override {
    NodeStatus status;
    status.address = "127.0.0.1:8443";
    status.role = "primary";
    status.feature_level = 1;
    status.slots.push_back({"active", "0.1.0", "abc", 7, true});
    co_return status;
  }
  Result<void> ready() override {
    if (!serving) return fail("unavailable", "It hands over");
    return {};
  }
  bool is_own_address(const net::Address&) override { return own_address; }
};

struct FakeUpgrade : UpgradeService {
  int applied = 0;
  std::vector<upgrade::Request> asked;
  std::set<RequestId> ran;
  std::string refuse;
  UpgradeView view;

  upgrade::Plan made(const upgrade::ApplyRequest& request) {
    upgrade::Plan plan;
    plan.id = random_id<PlanId>();
    plan.to.version = request.target.version;
    plan.method = request.method;
    upgrade::Step step;
    step.id = "switch";
    step.kind = upgrade::StepKind::switch_over;
    plan.steps.push_back(step);
    plan.policy = request.policy;
    return plan;
  }
  net::Task<Result<upgrade::Plan>> plan(upgrade::ApplyRequest request) override {
    if (!refuse.empty()) co_return fail(refuse, "No");
    co_return made(request);
  }
  net::Task<Result<UpgradeAsked>> apply(upgrade::ApplyRequest request) override {
    if (!refuse.empty()) co_return fail(refuse, "No");
    if (!ran.insert(request.request).second)
      co_return UpgradeAsked{view.progress.stored.plan.id, true};
    ++applied;
    view.progress.any = true;
    view.progress.state = "running";
    view.progress.stored.plan = made(request);
    co_return UpgradeAsked{view.progress.stored.plan.id};
  }
  net::Task<Result<UpgradeAsked>> request(upgrade::Request what, RequestId id) override {
    if (!refuse.empty()) co_return fail(refuse, "No");
    const bool repeated = !ran.insert(id).second;
    if (!repeated) asked.push_back(what);
    co_return UpgradeAsked{view.progress.stored.plan.id, repeated};
  }
  net::Task<Result<UpgradeView>> status() override { co_return view; }
};

struct FakeUpdates : UpdateService {
  net::Task<Result<UpdateList>> list() override {
    UpdateList list;
    list.source = "https://depot.example";
    list.releases.push_back({.version = "0.2.0", .digest = "d", .bytes = 5, .installable = true});
    co_return list;
  }
  net::Task<Result<UpdateList>> refresh() override { return list(); }
};

struct Reply {
  int status = 0;
  json::object body;
  std::map<std::string, std::string> headers;
  [[nodiscard]] std::string text(const char* name) const {
    const json::value* value = body.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  }
  [[nodiscard]] std::string code() const {
    const json::value* error = body.if_contains("error");
    return error == nullptr ? "" : std::string(error->at("code").as_string());
  }
};

struct ApiTest : testing::Test {
  ApiTest() {
    store::Journal::Options options;
    options.dir = site.folder / "journal";
    options.node = site.node;
    options.now = [this] { return site.now(); };
    journal = store::Journal::open(std::move(options)).value();
    api = std::make_unique<Api>(Services{*site.context, passwords, *journal, live, node, upgrade,
                                         updates, failover, site.folder / "recordings",
                                         pool.get_executor(), [this] { return instant.load(); }});
  }
  ~ApiTest() override {
    pool.join();
    api.reset();
  }

  Reply call(std::string method, std::string path, std::string token = "", std::string body = "",
             std::map<std::string, std::string> headers = {}) {
    http::Request request;
    request.method = std::move(method);
    request.target = path;
    const auto question = path.find('?');
    request.path = path.substr(0, question);
    request.segments = http::split_path(request.path).value();
    if (question != std::string::npos)
      request.query = http::split_query(path.substr(question + 1)).value();
    request.headers = std::move(headers);
    if (!token.empty()) request.headers["authorization"] = "Bearer " + token;
    request.body = std::move(body);
    request.peer = {address, 40000};
    request.local = {"127.0.0.1", 8443};
    const http::Response response =
        net::asio::co_spawn(pool, api->handle(std::move(request)), net::asio::use_future).get();
    Reply reply{.status = response.status};
    for (const auto& [name, value] : response.headers) reply.headers[name] = value;
    if (!response.body.empty()) reply.body = json::parse(response.body).as_object();
    return reply;
  }
  Reply login(std::string account, std::string password, std::string area = "site") {
    return call("POST", "/api/v1/login", "",
                json::serialize(
                    json::object{{"account", account}, {"password", password}, {"area", area}}));
  }
  // A token of an account of the site with these scopes only, without the password's cost.
  std::string token_of(const std::string& name, std::vector<std::string> scopes) {
    site::Accounts accounts(*site.context);
    site::AccountRecord account{.name = name, .scopes = std::move(scopes)};
    const auto made = site::run(accounts.create(account, site::new_write()));
    EXPECT_TRUE(made);
    return site::run(accounts.issue_token(account, "test")).value().token;
  }
  std::string alice() {
    site::Accounts accounts(*site.context);
    const auto account = accounts.find(access::Area::site, "alice").value().value();
    return site::run(accounts.issue_token(account, "test")).value().token;
  }
  std::string root() {
    site::Accounts accounts(*site.context);
    const auto account = accounts.find(access::Area::appliance, "root").value().value();
    return site::run(accounts.issue_token(account, "test")).value().token;
  }
  static std::string key_text() {
    return to_base64url(as_bytes(SigningKey::generate().public_key()));
  }
  Reply enrol(const std::string& token, const std::string& name) {
    return call("POST", "/api/v1/enrol", "",
                json::serialize(json::object{{"token", token},
                                             {"name", name},
                                             {"public_key", key_text()},
                                             {"platform", "linux-x86_64"},
                                             {"release", "0.1.0"}}));
  }
  // Journal entries of this kind. Lines that nobody waits for are behind one that is waited for.
  std::vector<store::JournalEntry> journalled(const std::string& what) {
    store::JournalEntry mark;
    mark.who = "test";
    mark.what = "mark";
    EXPECT_TRUE(journal->append_and_wait(mark));
    std::vector<store::JournalEntry> found;
    for (const auto& entry : journal->read(0, 10'000).value())
      if (entry.what == what) found.push_back(entry);
    return found;
  }

  site::LocalSite site;
  access::PasswordWorkers passwords;
  std::unique_ptr<store::Journal> journal;
  FakeLive live;
  FakeNode node;
  FakeUpgrade upgrade;
  FakeUpdates updates;
  FakeFailover failover;
  net::asio::thread_pool pool{2};
  std::atomic<Instant> instant{Instant(std::chrono::seconds(1000))};
  std::string address = "192.0.2.1";
  std::unique_ptr<Api> api;
};

}  // namespace everspan::api
