#include "node/site_process.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/version.h"
#include "net/socket.h"
#include "proto/base.pb.h"
#include "proto/frame.h"
#include "site/genesis.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kGreetWithin = 10s;

}  // namespace

SiteProcess::SiteProcess(net::IoThreads& control, net::IoThreads& api_threads, net::IoThreads& io,
                         net::MessageSocket base)
    : control_threads_(control),
      control_(control.executor(0)),
      api_executor_(api_threads.executor(0)),
      io_(io),
      base_(control_, std::move(base), *this),
      writes_(control_, log_backend_, *this),
      acceptor_(control_, io, *this),
      probe_acceptor_(control_, io, *this),
      tasks_(control_),
      http_tasks_(api_executor_),
      stopped_(control_),
      ends_moved_(control_),
      look_at_sessions_(control_),
      started_(net::now()) {
  drain_ = std::make_shared<http::Drain>();
}

SiteProcess::~SiteProcess() = default;

net::Task<Result<void>> SiteProcess::run() {
  const Result<void> greeted = co_await base_.greet(net::now() + kGreetWithin);
  if (!greeted) co_return fail(greeted);
  const pb::Welcome& welcome = base_.welcome();
  paths_.root = welcome.data_dir();
  const Result<NodeId> node = NodeId::from_raw(welcome.node_id());
  if (!node) co_return fail(node);
  node_ = *node;
  const Result<void> opened = open_store();
  if (!opened) co_return fail(opened);
  if (!welcome.has_init()) {
    const Result<site::SiteIdentity> identity = site::load_identity(*log_);
    waits_for_site_ = !identity && identity.error().code == "no_site";
    if (waits_for_site_) {
      const Result<void> door = open_door();
      if (!door) co_return fail(door);
    } else {
      const Result<void> site = co_await open_site();
      if (!site) co_return fail(site);
    }
  }
  tasks_.spawn("base-link", base_.run());
  tasks_.spawn("heartbeats", heartbeats());
  failpoint("site.before_ready");
  base_.say_ready(view_.applied());
  log_info("site.ready", {{"version", std::string(program_version())},
                          {"revision", std::to_string(view_.applied().value)}});
  co_await stopped_.wait_until(Instant::max());
  if (stop_in_order_) co_return Result<void>();
  co_return fail("stopped", stop_why_);
}

Result<void> SiteProcess::open_store() {
  store::LogWriter::Options options;
  options.path = paths_.log();
  options.node_id = node_;
  options.now = [] { return net::wall_now(); };
  if (base_.welcome().has_init())
    options.new_site = store::NewSite{random_id<LineageId>(), Epoch{1}};
  // A joined node begins with an empty log, an ancestor of all.
  if (base_.welcome().join()) options.new_site = store::NewSite{LineageId{}, Epoch{0}};
  Result<std::unique_ptr<store::FaultVfs>> faults = store::fault_vfs_for_armed();
  if (!faults) return fail(faults);
  log_faults_ = std::move(*faults);
  if (log_faults_ != nullptr) options.vfs = log_faults_->name();
  Result<std::unique_ptr<store::LogWriter>> writer = store::LogWriter::open(std::move(options));
  if (!writer) return fail(writer);
  log_writer_ = std::move(*writer);
  log_backend_.set_log(log_writer_.get());
  Result<std::unique_ptr<store::LogReader>> reader = store::LogReader::open(paths_.log());
  if (!reader) return fail(reader);
  log_ = std::move(*reader);
  store::Journal::Options journal;
  journal.dir = paths_.journal();
  journal.node = node_;
  journal.generation = Generation{base_.welcome().generation()};
  journal.now = [] { return net::wall_now(); };
  Result<std::unique_ptr<store::Journal>> opened = store::Journal::open(std::move(journal));
  if (!opened) return fail(opened);
  journal_ = std::move(*opened);
  return open_pair();
}

net::Task<Result<void>> SiteProcess::open_site() {
  const Result<void> loaded = view_.load(*log_, net::wall_now());
  if (!loaded) co_return fail(loaded);
  writes_.set_feature_level(view_.feature_level());
  Result<site::SiteIdentity> identity = site::load_identity(*log_);
  if (!identity) co_return fail(identity);
  identity_ = std::make_unique<site::SiteIdentity>(std::move(*identity));
  Result<site::SiteSecrets> secrets = site::load_secrets(*log_);
  if (!secrets) co_return fail(secrets);
  secrets_ = std::make_unique<site::SiteSecrets>(std::move(*secrets));
  store::LogReader* log = log_.get();
  const std::string path = paths_.read_model(std::string(program_version()));
  const std::function<Result<std::unique_ptr<site::Catalog>>()> build = [log, path] {
    return site::Catalog::open(path, *log);
  };
  Result<std::unique_ptr<site::Catalog>> catalog = co_await pool_.run(build);
  if (!catalog) co_return fail(catalog);
  catalog_ = std::move(*catalog);
  context_ = std::make_unique<site::Context>(site::Context{
      *log_, *pair_, *catalog_, *identity_, *secrets_, node_, [] { return net::wall_now(); }});

  Result<SigningKey> probe_key = node::probe_key(secrets_->request_key);
  if (!probe_key) co_return fail(probe_key);
  probe_key_ = std::make_unique<SigningKey>(std::move(*probe_key));
  recording::RecorderOptions recording;
  recording.folder = paths_.recordings();
  recording.site = identity_->id;
  recording.node = node_;
  recording.generation = base_.welcome().generation();
  Result<std::unique_ptr<recording::Recorder>> recorder = recording::Recorder::open(recording);
  if (!recorder) co_return fail(recorder);
  recorder_ = std::move(*recorder);

  live_ = std::make_unique<LiveNode>(LiveNode::Parts{
      control_, view_, *journal_, node_, [this] { return candidates(); },
      [this] { return net::asio::co_spawn(control_, verify_here(), net::asio::use_awaitable); },
      [this] { return clients_of_other(); }, [this] { return pair_->peer().value_or(NodeId{}); }});
  live_->set_site(context_.get(), &secrets_->grant_key, probe_endpoint(*probe_key_),
                  probe_key_->public_key());
  relay_ = std::make_unique<relay::Relay>(io_, *live_, recorder_.get());
  live_->set_relay(relay_.get());
  upgrade_ = std::make_unique<NodeUpgrade>(NodeUpgrade::Parts{
      control_, upgrade_pool_, paths_, base_, *pair_,
      [this] { return writes_.serving() && pair_->active() && pair_->serves(); }, *log_, view_,
      *journal_, node_,
      [this] {
        site::Settings settings(*context_);
        const std::string stored = settings.appliance_text("updates.source").value_or("");
        const std::size_t line = stored.find('\n');  // Below it: authorities of its own.
        return NodeUpgrade::Source{stored.substr(0, line),
                                   line == std::string::npos ? "" : stored.substr(line + 1)};
      },
      base_.welcome().trusted_root(), secrets_->request_key,
      [this] { return probe(peer_probe_port_); }, [this] { return health(); },
      [this] { return pair_->peer(); }, [this] { return pair_->roles(); },
      [this](std::string what, std::string body, Instant deadline) {
        return pair_->call(std::move(what), std::move(body), deadline);
      },
      [this](bool to_this_node) { return pair_->become(to_this_node, "upgrade"); }});
  passwords_ = std::make_unique<access::PasswordWorkers>();
  api_ = std::make_unique<api::Api>(
      api::Services{*context_, *passwords_, *journal_, *live_, *this, *upgrade_, *upgrade_,
                    *failover_, paths_.recordings(), api_executor_, [] { return net::now(); }});

  const Result<void> certificate = use_certificate();
  if (!certificate) co_return fail(certificate);
  auto node_links = [this](std::unique_ptr<net::Transport> link, std::string early, unsigned) {
    take_node_link(std::move(link), std::move(early));
  };
  relay_->take_node_links(std::move(node_links));
  const Result<void> authority = write_authority();
  if (!authority) co_return fail(authority);
  const Result<void> probing = start_probe_listener();
  if (!probing) co_return fail(probing);
  tasks_.spawn("follow-log", follow_log());
  tasks_.spawn("snapshot", refresh_snapshot());
  tasks_.spawn("look-after-sessions", look_after_sessions());
  co_return Result<void>();
}

// The public half of the site's authority, for clients to be given (base says where it lies).
Result<void> SiteProcess::write_authority() {
  const std::string path = paths_.node() + "/ca.pem";
  const std::string part = path + "." + std::to_string(getpid());
  std::ofstream out(part, std::ios::trunc);
  out << identity_->ca_pem;
  out.close();
  if (!out) return fail_errno("io", "Cannot write " + part, errno);
  if (rename(part.c_str(), path.c_str()) != 0)
    return fail_errno("io", "Cannot rename " + part, errno);
  return {};
}

// On loopback only: a process shows that it can carry sessions before it gets the public listeners.
Result<void> SiteProcess::start_probe_listener() {
  Result<net::Fd> listener = net::listen_tcp({"127.0.0.1", 0}, 16);
  if (!listener) return fail(listener);
  probe_listener_ = std::move(*listener);
  probe_acceptor_.start({probe_listener_.get()});
  return {};
}

net::Task<Result<void>> SiteProcess::make_site() {
  const pb::SiteInit init = base_.welcome().init();
  const NodeId node = node_;
  const std::function<Result<store::Transaction>()> work = [init, node] {
    return site::first_transaction(init, node, net::wall_now());
  };
  Result<store::Transaction> first = co_await pool_.run(work);
  if (!first) co_return fail(first);
  const Result<store::Outcome> made = co_await writes_.submit(std::move(*first));
  if (!made) co_return fail(made);
  base_.forget_init();
  log_info("site.made", {{"revision", std::to_string(made->revision.value)}});
  co_return co_await open_site();
}

net::Task<> SiteProcess::serve_now(Generation generation) {
  if (identity_ == nullptr && waits_for_site_) {
    if (!awaiting_site_) tasks_.spawn("await-site", await_site());
    awaiting_site_ = true;
  } else if (identity_ == nullptr) {
    const Result<void> made = co_await make_site();
    if (!made) co_return give_up("The site cannot be made: " + made.error().text());
  }
  if (!writes_.serving()) co_return;  // Released again meanwhile.
  if (relay_ != nullptr) {
    relay_->stop_migrating();
    relay_->drain(false);
  }
  const bool took_over = handover_.link != nullptr;
  // First of all: writes wait for this word at the process that let go. The ends that it sends here
  // wait in the listeners' backlog until they are accepted, below.
  const Revision revision = log_writer_->head();
  if (handover_.link != nullptr) {
    if (upgrade_ != nullptr) upgrade_->expect_moves();
    handover_.link->say_serving(generation, revision);
  }
  if (drain_.load()->requested) drain_ = std::make_shared<http::Drain>();
  std::vector<int> listeners;
  for (const ListenerFd& listener : base_.listeners()) listeners.push_back(listener.fd.get());
  // Before the first connection is taken: its question may be this one.
  ready_ = identity_ != nullptr;
  // Granted anew by a base that was restarted, it accepts already.
  if (!acceptor_.accepting()) acceptor_.start(listeners);
  generation_ = generation;
  base_.set_generation(generation);
  journal_->set_generation(generation);
  pb::SiteToBase message;
  message.mutable_activated()->set_generation(generation.value);
  message.mutable_activated()->set_head_revision(revision.value);
  base_.send(message);
  pair_->start(took_over);
  if (upgrade_ != nullptr && pair_->serves()) upgrade_->start_runner();
  look_at_sessions_.notify();  // What the one before left undone.
  log_info("site.serving", {{"generation", std::to_string(generation.value)},
                            {"revision", std::to_string(revision.value)}});
}

net::Task<> SiteProcess::leave() {
  drain_.load()->requested = true;
  if (relay_ != nullptr) relay_->drain(true);
  co_await acceptor_.stop();
  if (upgrade_ != nullptr) co_await upgrade_->stop_runner();
}

void SiteProcess::start_accepting() {
  serving_now_ = true;
}

void SiteProcess::serving(std::uint64_t generation) {
  serving_now_ = true;
  tasks_.spawn("serve", serve_now(Generation{generation}));
}

void SiteProcess::not_serving(std::uint64_t generation, std::string why) {
  serving_now_ = false;
  pb::SiteToBase message;
  message.mutable_not_activated()->set_generation(generation);
  message.mutable_not_activated()->set_code("not_raised");
  message.mutable_not_activated()->set_message(why);
  base_.send(message);
}

void SiteProcess::stop_accepting() {
  serving_now_ = false;  // Still ready: what comes on connections that are here is forwarded.
  tasks_.spawn("leave", leave());
}

void SiteProcess::released(std::uint64_t generation, store::LogHead head) {
  failpoint("site.before_released");
  pair_->stop();  // What ran here has been acknowledged by the other node as well.
  if (relay_ != nullptr) ends_left_ = 1;  // Counted when the other process serves (move_ends).
  pb::SiteToBase message;
  message.mutable_released()->set_generation(generation);
  message.mutable_released()->set_head_revision(head.revision.value);
  message.mutable_released()->set_head_hash(to_string(Bytes(head.hash)));
  base_.send(message);
  log_info("site.released", {{"generation", std::to_string(generation)},
                             {"revision", std::to_string(head.revision.value)}});
}

void SiteProcess::on_activate(Generation generation) {
  failpoint("site.before_activate");
  writes_.granted(generation.value);
}
void SiteProcess::on_release_writer(Generation generation) {
  writes_.ask_release(generation.value);
}

void SiteProcess::on_role_changed(int role, std::string why) {
  log_info("site.role", {{"role", std::to_string(role)}, {"why", std::move(why)}});
}

void SiteProcess::give_up(std::string why) {
  log_error("site.cannot_go_on", {{"why", why}});
  stop_why_ = std::move(why);
  stopped_.notify();
}

void SiteProcess::stop(std::string why) {
  if (retiring_) return;
  retiring_ = true;
  tasks_.spawn("retire", retire(std::move(why)));
}

void SiteProcess::on_retire(std::string why) {
  stop(std::move(why));
}

}  // namespace everspan::node
