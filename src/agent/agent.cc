#include "agent/agent.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/signal_set.hpp>
#include <optional>

#include "agent/files.h"
#include "agent/host_registry.h"
#include "agent/standing_link.h"
#include "common/log.h"
#include "common/random.h"
#include "proto/link.pb.h"

namespace everspan::agent {
namespace {

constexpr Duration kOpenMax = std::chrono::seconds(10);
constexpr Duration kRetryFirst = std::chrono::milliseconds(100);
constexpr Duration kRetryMax = std::chrono::seconds(10);
constexpr Duration kHeartbeatDefault = std::chrono::seconds(5);
constexpr int kSilentHeartbeatsMax = 3;
constexpr std::uint32_t kOrderMsMax = 10 * 60 * 1000;

std::string own_folder() {
  std::string path(4096, '\0');
  const ssize_t size = readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0) return ".";
  path.resize(static_cast<std::size_t>(size));
  return path.substr(0, path.rfind('/'));
}

std::vector<relay_end::Candidate> to_candidates(const auto& list) {
  std::vector<relay_end::Candidate> out;
  for (const auto& c : list)
    if (!c.host().empty() && c.port() > 0 && c.port() < 65536 &&
        out.size() < relay_end::kCandidatesMax)
      out.push_back({c.host(), static_cast<std::uint16_t>(c.port()), c.node()});
  return out;
}

}  // namespace

class Agent : public StandingLink::Owner {
 public:
  Agent(net::asio::io_context& loop, AgentOptions options, Identity identity, SigningKey key,
        net::TlsContext tls)
      : loop_(loop),
        options_(std::move(options)),
        identity_(std::move(identity)),
        key_(std::move(key)),
        tls_(std::move(tls)),
        hosts_(loop.get_executor(), options_.data + "/run", options_.host_program, identity_, key_,
               tls_),
        news_(loop.get_executor()),
        signals_(loop, SIGTERM, SIGINT),
        random_(seed()),
        tasks_(loop.get_executor()) {}

  void start() {
    for (const auto& c : identity_.candidates) add_candidate(orders_, c);
    hosts_.find_hosts();
    tasks_.spawn("link", keep_link());
    signals_.async_wait([this](boost::system::error_code error, int) {
      if (!error) stopper_.emplace(loop_.get_executor()).spawn("stop", stop());
    });
  }

  void on_orders(const pb::Orders& orders) override {
    if (orders.candidates_size() == 0) {
      const auto kept = orders_.candidates();
      orders_ = orders;
      *orders_.mutable_candidates() = kept;
    } else {
      orders_ = orders;
    }
  }
  void on_migrate(StandingLink& link, const pb::Migrate& migrate) override {
    if (&link != link_.get()) return;
    moves_to_ = to_candidates(migrate.candidates());
    move_at_ = net::now() + std::chrono::milliseconds(std::min(migrate.delay_ms(), kOrderMsMax));
    news_.notify();
  }
  void on_link_closed(StandingLink& link, const Error& why) override {
    if (&link == link_.get()) {
      log_info("link.lost", {{"code", why.code}});
      bury(std::move(link_));
      news_.notify();
      return;
    }
    std::erase_if(old_, [&](auto& l) {
      if (l.get() != &link) return false;
      bury(std::move(l));
      return true;
    });
  }
  void on_open_session(const std::string& signed_grant) override {
    tasks_.spawn("open", open_session(signed_grant));
  }

 private:
  static std::uint64_t seed() {
    std::uint64_t value = 0;
    fill_random(reinterpret_cast<std::uint8_t*>(&value), sizeof value);
    return value;
  }
  static void add_candidate(pb::Orders& orders, const relay_end::Candidate& c) {
    auto& out = *orders.add_candidates();
    out.set_host(c.host);
    out.set_port(c.port);
    out.set_node(c.node);
  }
  void bury(std::shared_ptr<StandingLink> link) {
    net::asio::post(loop_, [link = std::move(link)] {});
  }
  [[nodiscard]] Duration heartbeat() const {
    if (orders_.heartbeat_ms() == 0) return kHeartbeatDefault;
    return std::chrono::milliseconds(std::min(orders_.heartbeat_ms(), kOrderMsMax));
  }
  [[nodiscard]] Duration spread(std::uint32_t ms) {
    return std::chrono::milliseconds(random_.below(std::min(ms, kOrderMsMax) + 1ULL));
  }

  net::Task<void> keep_link();
  net::Task<bool> connect_once(relay_end::Candidate to);
  net::Task<bool> wait_for_news();
  net::Task<void> open_session(std::string signed_grant);
  net::Task<void> stop();

  net::asio::io_context& loop_;
  AgentOptions options_;
  Identity identity_;
  SigningKey key_;
  net::TlsContext tls_;
  HostRegistry hosts_;
  net::Wakeup news_;
  net::asio::signal_set signals_;
  SeededRandom random_;
  pb::Orders orders_;
  std::shared_ptr<StandingLink> link_;
  std::vector<std::shared_ptr<StandingLink>> old_;
  std::vector<relay_end::Candidate> moves_to_;
  std::optional<Instant> move_at_;
  bool stopping_ = false;
  net::TaskScope tasks_;
  std::optional<net::TaskScope> stopper_;
};

net::Task<bool> Agent::connect_once(relay_end::Candidate to) {
  const Instant deadline = net::now() + kOpenMax;
  auto opened = co_await StandingLink::open(loop_.get_executor(), *this, identity_, key_, tls_,
                                            hosts_.sessions(), to, deadline);
  if (!opened) {
    log_info("link.failed", {{"at", to.host + ":" + std::to_string(to.port)},
                             {"code", opened.error().code},
                             {"why", opened.error().text()}});
    co_return false;
  }
  // Make before break: the old link ends when the new one stands.
  if (link_) {
    link_->close_softly();
    old_.push_back(std::move(link_));
  }
  link_ = std::move(*opened);
  link_->start();
  log_info("link.up", {{"at", to.host + ":" + std::to_string(to.port)}});
  co_return true;
}

// True: dial now (the link was lost, or is to move). False: stop.
net::Task<bool> Agent::wait_for_news() {
  for (;;) {
    if (stopping_) co_return false;
    const Instant now = net::now();
    if (!link_) {
      // All agents of a node lose it together: each waits its part of the window.
      const Duration wait =
          std::chrono::milliseconds(std::min(orders_.redial_after_ms(), kOrderMsMax)) +
          spread(orders_.redial_spread_ms());
      const bool slept = co_await net::sleep_for(wait);
      co_return slept;
    }
    if (move_at_ && now >= *move_at_) co_return true;
    const Duration quiet = now - link_->heard_at();
    if (quiet >= heartbeat() * kSilentHeartbeatsMax) {
      log_info("link.silent");
      link_->close();
      bury(std::move(link_));
      continue;
    }
    if (quiet >= heartbeat()) link_->ping();
    Instant next = now + heartbeat();
    if (move_at_) next = std::min(next, *move_at_);
    std::ignore = co_await news_.wait_until(next);
  }
}

net::Task<void> Agent::keep_link() {
  std::size_t tries = 0;
  while (!stopping_) {
    auto list = to_candidates(orders_.candidates());
    if (move_at_ && !moves_to_.empty()) list = moves_to_;
    if (list.empty()) list = identity_.candidates;
    const relay_end::Candidate to = list[tries % list.size()];
    const bool connected = co_await connect_once(to);
    if (stopping_) co_return;
    if (connected) {
      tries = 0;
      move_at_.reset();
      moves_to_.clear();
      const bool go_on = co_await wait_for_news();
      if (!go_on) co_return;
      continue;
    }
    ++tries;
    if (!link_ && move_at_) move_at_.reset();
    Duration wait = kRetryFirst * (1 << std::min<std::size_t>(tries / list.size(), 7));
    wait = std::min(wait, kRetryMax);
    wait += Duration(random_.below(static_cast<std::uint64_t>(wait.count()) / 2 + 1));
    const bool slept = co_await net::sleep_for(wait);
    if (!slept) co_return;
  }
}

net::Task<void> Agent::open_session(std::string signed_grant) {
  const auto grant = check_grant(signed_grant, identity_.site, net::wall_now(), true);
  Result<void> opened;
  std::string session_id;
  if (!grant) {
    pb::SignedGrant outer;
    pb::Grant inner;
    if (outer.ParseFromString(signed_grant) && inner.ParseFromString(outer.grant()))
      session_id = inner.session_id();
    opened = fail(grant);
  } else {
    session_id = grant->session_id;
    if (grant->epoch > identity_.site.epoch_seen) {
      identity_.site.epoch_seen = grant->epoch;
      const auto stored = store_identity(options_.data, identity_);
      if (!stored) log_error("agent.store", {{"why", stored.error().text()}});
    }
    const std::string orders = orders_.SerializeAsString();
    opened = co_await hosts_.open(session_id, signed_grant, orders);
  }
  if (opened) co_return;
  log_warning("session.refused", {{"session", to_hex(as_bytes(session_id))},
                                  {"code", opened.error().code},
                                  {"why", opened.error().text()}});
  if (link_) link_->refuse(session_id, opened.error());
}

net::Task<void> Agent::stop() {
  log_info("agent.stop", {{"sessions_kept", std::to_string(hosts_.count())}});
  stopping_ = true;
  news_.notify();
  tasks_.cancel();
  co_await tasks_.join();
  co_await hosts_.stop();
  if (link_) link_->close();
  for (auto& link : old_) link->close();
  loop_.stop();
}

int run_agent(const AgentOptions& given) {
  set_log_program("agent");
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);  // Hosts are on their own; nobody waits for them.
  umask(077);
  AgentOptions options = given;
  if (options.host_program.empty()) options.host_program = own_folder() + "/everspan-session-host";
  auto identity = load_identity(options.data);
  auto key = load_key(options.data);
  auto folder = make_private_folder(options.data + "/run");
  std::optional<Error> problem;
  if (!folder) problem = folder.error();
  if (!key) problem = key.error();
  if (!identity) problem = identity.error();
  // Two agents would take the hosts from each other.
  Result<net::Fd> lock =
      problem ? Result<net::Fd>(net::Fd()) : lock_file(options.data + "/run/lock");
  if (!lock) problem = lock.error();
  if (!problem) {
    auto tls = net::TlsContext::client(
        {.ca_pem = identity->ca_pem, .ca_sha256 = {}, .alpn = std::string(wire::kAlpn)});
    if (tls) {
      net::asio::io_context loop(1);
      Agent agent(loop, options, std::move(*identity), std::move(*key), std::move(*tls));
      agent.start();
      loop.run();
      loop.restart();  // The last task's own end.
      loop.poll();
      return 0;
    }
    problem = tls.error();
  }
  log_error("agent.failed", {{"code", problem->code}, {"why", problem->text()}});
  return 1;
}

}  // namespace everspan::agent
