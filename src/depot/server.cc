#include "depot/server.h"

#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <optional>
#include <vector>

#include "access/certificates.h"
#include "common/log.h"
#include "net/socket.h"
#include "net/tls.h"
#include "update/files.h"

namespace everspan::depot {
namespace {

constexpr std::size_t kPemBytesMax = 64U << 10;
constexpr int kConnectionsMax = 500;
constexpr auto kHandshakeTime = std::chrono::seconds(5);

// The depot's own authority, made once; the server's certificate is issued at each start.
Result<net::TlsServerOptions> own_certificate(const std::string& dir, const net::Address& listen) {
  const std::string tls = dir + "/tls";
  if (const auto made = update::make_dirs(tls); !made) return fail(made);
  access::KeyAndCertificate authority;
  auto certificate = update::read_file(dir + "/ca.pem", kPemBytesMax);
  auto key = update::read_file(tls + "/ca.key", kPemBytesMax);
  if (certificate && key) {
    authority = {*certificate, *key};
  } else {
    auto made = access::make_authority("Everspan depot", net::wall_now());
    if (!made) return fail(made);
    authority = std::move(*made);
    auto kept = update::write_file_atomic(tls + "/ca.key", authority.key_pem, 0600);
    if (kept) kept = update::write_file_atomic(dir + "/ca.pem", authority.certificate_pem);
    if (!kept) return fail(kept);
  }
  std::vector<std::string> names{listen.host};
  if (net::is_loopback(listen)) names.emplace_back("localhost");
  const auto issued = access::issue_certificate(authority, names, net::wall_now());
  if (!issued) return fail(issued);
  net::TlsServerOptions out;
  out.certificate_chain_pem = issued->certificate_pem;
  if (!out.certificate_chain_pem.contains(authority.certificate_pem))
    out.certificate_chain_pem += authority.certificate_pem;
  out.private_key_pem = issued->key_pem;
  return out;
}

Result<std::optional<net::TlsContext>> make_tls(const ServeOptions& options) {
  if (options.plain_http) {
    if (!net::is_loopback(options.listen))
      return fail("bad_request", "Plain HTTP is served on a loopback address only", "",
                  "Leave --plain-http away");
    return std::optional<net::TlsContext>();
  }
  net::TlsServerOptions tls;
  if (options.certificate_path.empty()) {
    auto own = own_certificate(options.dir, options.listen);
    if (!own) return fail(own);
    tls = std::move(*own);
  } else {
    const auto chain = update::read_file(options.certificate_path, kPemBytesMax);
    const auto key = update::read_file(options.key_path, kPemBytesMax);
    if (!chain) return fail(chain);
    if (!key) return fail(key);
    tls.certificate_chain_pem = *chain;
    tls.private_key_pem = *key;
  }
  tls.alpn = {"http/1.1"};
  auto context = net::TlsContext::server(tls);
  if (!context) return fail(context);
  return std::optional<net::TlsContext>(std::move(*context));
}

class Server {
 public:
  Server(net::Executor executor, const std::string& repository, std::optional<net::TlsContext> tls)
      : tasks_(executor), files_(repository), tls_(std::move(tls)) {}

  net::Task<void> run(int listener) {
    for (;;) {
      auto accepted = co_await net::accept_tcp(listener);
      if (!accepted && accepted.error().code == "cancelled") co_return;
      if (!accepted) {
        log_warning("depot.accept", {{"why", accepted.error().message}});
        const bool on = co_await net::sleep_for(std::chrono::milliseconds(100));
        if (!on) co_return;
        continue;
      }
      if (tasks_.running() >= kConnectionsMax) continue;  // Closed: clients try again.
      tasks_.spawn("depot.connection", connection(std::move(*accepted)));
    }
  }
  net::Task<void> stop() {
    drain_.requested = true;
    tasks_.cancel();
    co_await tasks_.join();
  }

 private:
  net::Task<void> connection(net::Fd socket) {
    std::unique_ptr<net::Transport> transport;
    if (tls_) {
      auto secured =
          co_await net::tls_accept(*tls_, std::move(socket), net::now() + kHandshakeTime);
      if (!secured) co_return;  // The peer's affair; a scan must not fill the log.
      transport = std::move(*secured);
    } else {
      transport = net::plain_transport(std::move(socket));
    }
    co_await http::serve_http(std::move(transport), "", files_, http::Limits{}, drain_);
  }

  net::TaskScope tasks_;
  StaticFiles files_;
  std::optional<net::TlsContext> tls_;
  http::Drain drain_;
};

net::Task<void> stop_at_signal(net::TaskScope& accepting, Server& server) {
  const auto executor = co_await net::asio::this_coro::executor;
  net::asio::signal_set signals(executor, SIGINT, SIGTERM);
  boost::system::error_code error;
  co_await signals.async_wait(net::asio::redirect_error(net::asio::use_awaitable, error));
  accepting.cancel();
  co_await accepting.join();
  co_await server.stop();
}

}  // namespace

Result<void> serve(const ServeOptions& options, const std::function<void(const Served&)>& ready) {
  if (options.certificate_path.empty() != options.key_path.empty())
    return fail("bad_request", "--cert and --key belong together");
  if (!update::read_file(options.dir + "/repository/1.root.json", 1U << 20))
    return fail("no_repository", "There is no repository in " + options.dir, "",
                "Make one with `everspan-depot init --dir DIR`");
  auto tls = make_tls(options);
  if (!tls) return fail(tls);
  const bool secure = tls->has_value();
  const auto listener = net::listen_tcp(options.listen);
  if (!listener) return fail(listener);

  net::asio::io_context loop(1);
  Server server(loop.get_executor(), options.dir + "/repository", std::move(*tls));
  net::TaskScope accepting(loop.get_executor());
  net::TaskScope signals(loop.get_executor());
  accepting.spawn("depot.accept", server.run(listener->get()));
  signals.spawn("depot.signals", stop_at_signal(accepting, server));
  Served served;
  served.address = net::local_address(listener->get());
  served.url = (secure ? "https://" : "http://") + served.address.text();
  if (secure && options.certificate_path.empty()) served.ca_path = options.dir + "/ca.pem";
  log_info("depot.serving", {{"url", served.url}});
  ready(served);
  loop.run();
  return {};
}

}  // namespace everspan::depot
