#include "http/client.h"
#include "net/tls.h"

namespace everspan::http {
namespace {

using Connected = Result<std::unique_ptr<net::Transport>>;

net::Task<void> connect(const net::TlsContext& context, net::Address to, Instant deadline,
                        Connected& out) {
  out = co_await net::tls_connect(context, to, to.host, deadline);
}

}  // namespace

Result<std::string> fetch_pinned_root(const std::string& host_and_port,
                                      const std::string& ca_sha256,
                                      std::chrono::milliseconds timeout) {
  const auto to = net::Address::parse(host_and_port);
  if (!to) return fail(to);
  net::TlsClientOptions options;
  options.ca_sha256 = ca_sha256;
  options.alpn = "http/1.1";
  const auto context = net::TlsContext::client(options);
  if (!context) return fail(context);
  net::asio::io_context loop;
  net::TaskScope scope(loop.get_executor());
  Connected connected = fail("cancelled", "Not connected");
  scope.spawn("pinned root", connect(*context, *to, net::now() + timeout, connected));
  loop.run();
  if (!connected) return fail(connected);
  return net::peer_root_pem(**connected);
}

}  // namespace everspan::http
