// The site process towards HTTP: connections to the API's executor, status, verify.
#include "common/log.h"
#include "common/version.h"
#include "net/socket.h"
#include "node/site_process.h"
#include "proto/base.pb.h"

namespace everspan::node {
namespace {

std::string slot_name(pb::SlotRole role) {
  switch (role) {
    case pb::SLOT_ACTIVE:
      return "active";
    case pb::SLOT_CANDIDATE:
      return "candidate";
    case pb::SLOT_FALLBACK:
      return "fallback";
    default:
      return "unknown";
  }
}

// A node that was started with --join and has no site yet: alive, and that is all.
class JoiningHandler : public http::Handler {
 public:
  net::Task<http::Response> handle(http::Request request) override {
    http::Response response;
    response.status = request.path == "/healthz" ? 200 : 503;
    response.body =
        request.path == "/healthz"
            ? R"({"alive":true})"
            : R"({"error":{"code":"joining","message":"This node has no site yet","kept":"","next":"On the node that has the site: everspan failover establish"}})";
    co_return response;
  }
};

}  // namespace

void SiteProcess::take_link(std::unique_ptr<net::Transport> link, unsigned thread) {
  if (relay_ != nullptr) return relay_->serve(std::move(link), {}, thread);
  auto shared = std::make_shared<std::unique_ptr<net::Transport>>(std::move(link));
  auto greet = [this, shared] { tasks_.spawn("door", at_door(shared)); };
  net::asio::post(control_, std::move(greet));
}

void SiteProcess::take_http(std::unique_ptr<net::Transport> connection) {
  auto shared = std::make_shared<std::unique_ptr<net::Transport>>(std::move(connection));
  auto serve = [this, shared] { http_tasks_.spawn("http", serve_connection(shared)); };
  net::asio::post(api_executor_, std::move(serve));
}

net::Task<> SiteProcess::serve_connection(std::shared_ptr<std::unique_ptr<net::Transport>> from) {
  const std::shared_ptr<http::Drain> drain = drain_.load();  // Lives as long as the connection.
  const http::Limits limits;
  if (api_ == nullptr) {  // Joined: no site to ask about yet.
    JoiningHandler joining;
    co_await http::serve_http(std::move(*from), std::string(), joining, limits, *drain);
    co_return;
  }
  co_await http::serve_http(std::move(*from), std::string(), *api_, limits, *drain);
}

Result<void> SiteProcess::ready() {
  if (ready_) return {};
  return fail("unavailable", "This process does not serve now");
}

bool SiteProcess::is_own_address(const net::Address& local) {
  for (const net::Address& own : own_addresses())
    if (own.host == local.host || own.host == "0.0.0.0" || own.host == "::") return true;
  return false;
}

// The first name of the certificate stands for a listener on all addresses.
std::vector<net::Address> SiteProcess::own_addresses() const {
  std::vector<net::Address> out;
  for (const pb::Listener& listener : base_.welcome().listeners()) {
    net::Address address{listener.host(), static_cast<std::uint16_t>(listener.port())};
    if ((address.host == "0.0.0.0" || address.host == "::") && identity_ != nullptr &&
        !identity_->certificate_names.empty())
      address.host = identity_->certificate_names.front();
    out.push_back(std::move(address));
  }
  return out;
}

net::Task<Result<api::NodeStatus>> SiteProcess::status() {
  co_return co_await net::asio::co_spawn(control_, status_here(), net::asio::use_awaitable);
}

net::Task<Result<api::NodeStatus>> SiteProcess::status_here() {
  api::NodeStatus out;
  const std::vector<net::Address> addresses = own_addresses();
  if (!addresses.empty()) out.address = addresses.front().text();
  out.release_digest = base_.welcome().release_digest();
  out.role = writes_.serving() ? "primary" : slot_name(base_.welcome().role());
  out.uptime_s = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(net::now() - started_).count());
  if (pair_->active()) {
    out.in_sync = pair_->in_sync();
    // Alone it is the primary of its site.
    if (pair_->role() != failover::Role::alone) out.role = failover::word(pair_->role());
  }
  out.feature_level = view_.feature_level();
  Result<std::unique_ptr<pb::BaseReply>> base = co_await upgrade_->base_status();
  if (!base) co_return out;  // Base is being restarted: the rest is still true.
  const pb::BaseStatus& status = (*base)->status();
  out.base_version = status.base_version();
  out.single_user = status.single_user();
  for (const pb::Slot& slot : status.slots())
    out.slots.push_back(
        {slot_name(slot.role()), slot.version(), slot.digest(), slot.pid(), slot.ready()});
  co_return out;
}

net::Task<Result<std::vector<api::LiveService::Check>>> SiteProcess::verify_here() {
  std::vector<api::LiveService::Check> checks;
  const Result<std::string> probed = co_await probe(net::local_address(probe_listener_.get()).port);
  checks.push_back({"probe session", probed.has_value(),
                    probed ? "through release " + *probed : probed.error().text()});
  const upgrade::Health now = health();
  checks.push_back({"health", now.healthy, now.healthy ? "recording and loops" : now.why});
  checks.push_back({"writer", writes_.serving(),
                    writes_.serving() ? "generation " + std::to_string(generation_.value)
                                      : "another process of this node writes"});
  checks.push_back({"base", base_.connected(),
                    base_.connected() ? base_.welcome().base_version() : "not connected"});
  co_return checks;
}

}  // namespace everspan::node
