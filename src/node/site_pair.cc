// The site process as one of two nodes: what the roles mean for its services, and questions of the
// other node.
#include <algorithm>

#include "access/certificates.h"
#include "common/log.h"
#include "node/site_process.h"
#include "node/transaction_codec.h"
#include "proto/base.pb.h"
#include "proto/frame.h"
#include "proto/handover.pb.h"
#include "proto/records.pb.h"
#include "site/joining.h"
#include "site/records.h"
#include "update/verify.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookForSite = 1s;
constexpr auto kClientsWithin = 1s;

}  // namespace

Result<void> SiteProcess::open_pair() {
  pair_ = std::make_unique<PairService>(PairService::Parts{control_, pool_, paths_, node_, writes_,
                                                           *log_writer_, *log_, *journal_, *this,
                                                           update::host_platform()});
  const Result<void> opened = pair_->open();
  if (!opened) return opened;
  door_ = std::make_unique<NodeDoor>(
      pair_->files(), [this](const NodeDoor::Refused& refused) { node_refused(refused); });
  log_backend_.set_tail([this] { return pair_->before_writer(); });
  failover_ = std::make_unique<FailoverNode>(
      FailoverNode::Parts{control_, *pair_, pool_, paths_.node() + "/orphans", node_,
                          [this](std::string host) { return name_in_certificate(std::move(host)); },
                          [this](NodeId node) { return give_appliance(node); }});
  return {};
}

// Before there is a site: other nodes are let in to establish, and nobody else. The key that lets
// one in is made here, for the administrator to carry.
Result<void> SiteProcess::open_door() {
  const Result<std::string> key = pair_->files().make_inter_appliance_key(false);
  if (!key && key.error().code != "exists") return fail(key);
  const Result<access::KeyAndCertificate> root =
      access::make_authority("everspan node " + node_.hex().substr(0, 8), net::wall_now());
  if (!root) return fail(root);
  std::vector<std::string> names;
  for (const pb::Listener& listener : base_.welcome().listeners()) names.push_back(listener.host());
  const Result<access::KeyAndCertificate> leaf =
      access::issue_certificate(*root, names, net::wall_now());
  if (!leaf) return fail(leaf);
  Result<net::TlsContext> tls =
      net::TlsContext::server({leaf->certificate_pem + root->certificate_pem,
                               leaf->key_pem,
                               {std::string(wire::kAlpn), "http/1.1"}});
  if (!tls) return fail(tls);
  tls_ = std::make_shared<net::TlsContext>(std::move(*tls));
  acceptor_.set_context(tls_);
  log_info("site.joining", {{"key", pair_->files().inter_appliance_key_path()}});
  return {};
}

net::Task<> SiteProcess::at_door(std::shared_ptr<std::unique_ptr<net::Transport>> link) {
  std::optional<ProvedLink> proved = co_await door_->open(std::move(*link));
  if (proved) take_proved(std::move(*proved));
}

// From an io thread.
void SiteProcess::take_node_link(std::unique_ptr<net::Transport> link, std::string early) {
  auto shared = std::make_shared<std::unique_ptr<net::Transport>>(std::move(link));
  auto greet = [this, shared, early = std::move(early)] {
    tasks_.spawn("greet-node", greet_node(shared, early));
  };
  net::asio::post(control_, std::move(greet));
}

net::Task<> SiteProcess::greet_node(std::shared_ptr<std::unique_ptr<net::Transport>> link,
                                    std::string early) {
  std::optional<ProvedLink> proved = co_await door_->greet(std::move(*link), std::move(early));
  if (proved) take_proved(std::move(*proved));
}

void SiteProcess::take_proved(ProvedLink link) {
  if (link.purpose == LinkPurpose::establish) return failover_->accepted(std::move(link));
  pair_->accepted(std::move(link));
}

void SiteProcess::node_refused(const NodeDoor::Refused& refused) {
  store::JournalEntry entry;
  entry.who = "node";
  entry.what = "failover.link_refused";
  entry.subject = node_.hex();
  entry.at = net::wall_now();
  entry.detail = "{\"code\":\"" + printable(refused.why.code, 40) + "\",\"address\":\"" +
                 refused.from.text() + "\",\"untold\":" + std::to_string(refused.untold) + "}";
  journal_->append(std::move(entry));
}

Result<void> SiteProcess::use_certificate() {
  const net::TlsServerOptions options{identity_->certificate_chain_pem(),
                                      secrets_->certificate_key_pem,
                                      {std::string(wire::kAlpn), "http/1.1"}};
  if (tls_ != nullptr) return tls_->replace_certificate(options);
  Result<net::TlsContext> tls = net::TlsContext::server(options);
  if (!tls) return fail(tls);
  tls_ = std::make_shared<net::TlsContext>(std::move(*tls));
  acceptor_.set_context(tls_);
  probe_acceptor_.set_context(tls_);
  return {};
}

// The site signs its own certificates: the other node's address goes into a new one, so that
// consoles and agents find the name that they dial.
net::Task<Result<void>> SiteProcess::name_in_certificate(std::string host) {
  for (const std::string& name : identity_->certificate_names)
    if (name == host) co_return Result<void>();
  const Result<std::optional<store::Record>> record =
      log_->get(std::string(site::kKindSite), std::string(site::kKeySite));
  if (!record) co_return fail(record);
  const Result<std::optional<store::Record>> secret =
      log_->get(std::string(site::kKindSecret), std::string(site::kSecretCaKey));
  if (!secret) co_return fail(secret);
  if (!*record || !*secret)
    co_return fail("no_authority", "The site's certificate was given by its administrator",
                   "Nothing was changed", "Have one made that names both nodes");
  Result<pb::Site> site = site::parse_record<pb::Site>(site::kKindSite, (*record)->bytes);
  if (!site) co_return fail(site);
  Result<pb::Secret> ca_key = site::parse_record<pb::Secret>(site::kKindSecret, (*secret)->bytes);
  if (!ca_key) co_return fail(ca_key);
  std::vector<std::string> names(site->certificate_names().begin(),
                                 site->certificate_names().end());
  names.push_back(host);
  const Result<access::KeyAndCertificate> made =
      access::issue_certificate({site->ca_pem(), ca_key->value()}, names, net::wall_now());
  if (!made) co_return fail(made);
  site->set_certificate_pem(made->certificate_pem);
  site->add_certificate_names(host);
  pb::Secret key;
  key.set_value(made->key_pem);
  key.set_created_at_ms(net::wall_now().unix_ms);
  store::Transaction transaction;
  transaction.writes.push_back(store::Write::put(std::string(site::kKindSite),
                                                 std::string(site::kKeySite),
                                                 site->SerializeAsString(), (*record)->revision));
  transaction.writes.push_back(store::Write::put(std::string(site::kKindSecret),
                                                 std::string(site::kSecretCertificateKey),
                                                 key.SerializeAsString()));
  const Result<store::Outcome> stored = co_await pair_->submit(std::move(transaction));
  if (!stored) co_return fail(stored);
  log_info("site.certificate", {{"names", std::to_string(names.size())}});
  co_return Result<void>();
}

net::Task<Result<void>> SiteProcess::give_appliance(NodeId node) {
  const Result<std::vector<store::Write>> writes = site::appliance_records_for(*context_, node);
  if (!writes) co_return fail(writes);
  for (std::size_t done = 0; done < writes->size(); done += store::kOperationsMax) {
    store::Transaction transaction;
    for (std::size_t i = done; i < std::min(done + store::kOperationsMax, writes->size()); ++i)
      transaction.writes.push_back((*writes)[i]);
    const Result<store::Outcome> stored = co_await pair_->submit(std::move(transaction));
    if (!stored) co_return fail(stored);
  }
  co_return Result<void>();
}

// Another certificate was stored, here or by the primary: connections from now on get it.
Result<void> SiteProcess::follow_certificate() {
  if (view_.site().certificate_pem == identity_->certificate_pem) return {};
  Result<site::SiteIdentity> identity = site::load_identity(*log_);
  if (!identity) return fail(identity);
  Result<site::SiteSecrets> secrets = site::load_secrets(*log_);
  if (!secrets) return fail(secrets);
  identity_->certificate_pem = identity->certificate_pem;
  identity_->certificate_names = identity->certificate_names;
  secrets_->certificate_key_pem = secrets->certificate_key_pem;
  return use_certificate();
}

std::optional<SiteId> SiteProcess::site_id() const {
  if (identity_ == nullptr) return std::nullopt;
  return identity_->id;
}

// In the order in which ends should dial: where the writes are first, but a process that lets go to
// another one of this node sends its ends there.
std::vector<net::Address> SiteProcess::candidates() const {
  std::vector<net::Address> out = own_addresses();
  if (pair_ == nullptr) return out;
  const std::optional<net::Address> peer = pair_->peer_address();
  if (!peer) return out;
  const bool leaving_process = !writes_.serving() && handover_.link != nullptr;
  const bool peer_first = !leaving_process && pair_->active() && !pair_->serves();
  out.insert(peer_first ? out.begin() : out.end(), *peer);
  return out;
}

void SiteProcess::role_changed(failover::Role role, const std::string& why) {
  failover_->roles_changed();
  log_info("site.role_in_pair", {{"role", std::string(failover::word(role))}, {"why", why}});
  if (upgrade_ == nullptr) return;
  if (pair_->serves()) {
    if (relay_ != nullptr) relay_->stop_migrating();
    upgrade_->start_runner();
  } else {
    tasks_.spawn("stop-runner", upgrade_->stop_runner());
  }
}

void SiteProcess::move_ends_to_peer() {
  if (relay_ == nullptr) return;
  relay::Pace pace;
  pace.reason = "failover";
  // The agents' standing links follow the primary, for new sessions come by them. Sessions stay
  // where they are: a backup carries them on.
  pace.only = [](const relay::Movable& what) { return !what.session.has_value(); };
  auto progress = [](relay::MoveProgress now) {
    if (now.left == 0) log_info("ends.moved_to_peer", {{"legs", std::to_string(now.legs_total)}});
  };
  relay_->migrate_all(std::move(pace), std::move(progress));
}

void SiteProcess::peer_changed() {
  failover_->roles_changed();
}

void SiteProcess::answer_call(const std::string& what, const std::string& body, CallDone done) {
  if (what == "write") {
    tasks_.spawn("peer-write", answer_write_call(body, std::move(done)));
  } else if (what == "clients" && live_ != nullptr) {
    tasks_.spawn("peer-clients", answer_clients_call(std::move(done)));
  } else if (what.starts_with("upgrade.") && upgrade_ != nullptr) {
    tasks_.spawn("peer-upgrade", answer_upgrade_call(what, body, std::move(done)));
  } else {
    done(fail("unknown_call", "This release does not know what was asked", "Nothing was done",
              "Upgrade it first"));
  }
}

net::Task<> SiteProcess::answer_clients_call(CallDone done) {
  const std::unique_ptr<pb::SnapshotReply> part = co_await live_->node_part();
  done(part->SerializeAsString());
}

// nullptr: there is no other node, or this process does not hold the link to it.
net::Task<Result<std::unique_ptr<pb::SnapshotReply>>> SiteProcess::clients_of_other() {
  using Reply = std::unique_ptr<pb::SnapshotReply>;
  if (!pair_->active() || !pair_->peer()) co_return Reply();
  const Result<std::string> answer =
      co_await pair_->call("clients", std::string(), net::now() + kClientsWithin);
  if (!answer) co_return fail("unreachable", answer.error().message);
  auto reply = std::make_unique<pb::SnapshotReply>();
  if (!reply->ParseFromString(*answer))
    co_return fail("unreachable", "The other node's answer cannot be read");
  co_return reply;
}

net::Task<> SiteProcess::answer_upgrade_call(std::string what, std::string body, CallDone done) {
  Result<std::string> answer = co_await upgrade_->answer_other(std::move(what), std::move(body));
  done(std::move(answer));
}

// A write that the other node took before it let go. It keeps its request id, so it runs once.
net::Task<> SiteProcess::answer_write_call(std::string body, CallDone done) {
  Result<store::Transaction> transaction = decode_transaction(body);
  if (!transaction) {
    done(fail(transaction));
    co_return;
  }
  const Result<store::Outcome> outcome = co_await pair_->submit(std::move(*transaction));
  pb::WriteOutcome out;
  out.set_ok(outcome.has_value());
  if (outcome) {
    out.set_outcome(encode_outcome(*outcome));
  } else {
    out.set_code(outcome.error().code);
    out.set_message(outcome.error().message);
    out.set_kept(outcome.error().kept);
    out.set_next(outcome.error().next);
  }
  done(out.SerializeAsString());
}

// A joined node has no site until another one ships it: then it is opened like any other.
net::Task<> SiteProcess::await_site() {
  Result<store::HeadWatch> watch = store::HeadWatch::open(paths_.log());
  if (!watch) co_return give_up("The log cannot be watched: " + watch.error().text());
  for (;;) {
    const Result<site::SiteIdentity> identity = site::load_identity(*log_);
    const Result<site::SiteSecrets> secrets = site::load_secrets(*log_);
    if (identity && secrets) break;
    co_await net::wait_readable(watch->fd(), net::now() + kLookForSite);
    const bool cancelled = co_await net::is_cancelled();
    if (cancelled) co_return;
    watch->drain();
  }
  const Result<void> opened = co_await open_site();
  if (!opened)
    co_return give_up("The site that was shipped cannot be opened: " + opened.error().text());
  log_info("site.joined", {{"site", identity_->id.hex()}});
  ready_ = true;
}

}  // namespace everspan::node
