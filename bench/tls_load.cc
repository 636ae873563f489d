// The same bulk through a plain relay (HAProxy): N streams, each a TLS 1.3 connection to the relay
// and the TLS 1.3 connection that the relay makes to us for it. Every byte that arrives is
// compared.
//
//   tls_load --front HOST:PORT --back HOST:PORT --certificate FILE --key FILE --streams N
//
// `--certificate` is trusted for the front and shown at the back. Lines as leg_load: `begin`,
// `report`, `stop`.
#include <signal.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <iostream>
#include <iterator>
#include <thread>

#include "common/bytes.h"
#include "load_flow.h"
#include "net/async.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "net/tls.h"

namespace {

using namespace everspan;
using namespace everspan::bench;

constexpr std::size_t kWriteBytes = 16 * 1024;
constexpr std::size_t kReadBytes = 256 * 1024;
constexpr Duration kConnectMax = std::chrono::seconds(10);
constexpr Duration kStreamMax = std::chrono::minutes(10);

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "tls_load: %s\n", why.c_str());
  std::exit(2);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) die("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Arguments {
  net::Address front;
  net::Address back;
  std::string certificate;
  std::string key;
  std::uint64_t streams = 1;
};

Arguments parse(int argc, char** argv) {
  Arguments out;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = argv[i + 1];
    if (name == "--certificate") out.certificate = read_file(value);
    if (name == "--key") out.key = read_file(value);
    if (name == "--streams") out.streams = std::stoull(value);
    if (name != "--front" && name != "--back") continue;
    const auto address = net::Address::parse(value);
    if (!address) die(address.error().text());
    (name == "--front" ? out.front : out.back) = *address;
  }
  if (out.certificate.empty() || out.key.empty() || out.front.port == 0 || out.back.port == 0)
    die("--front, --back, --certificate and --key are needed");
  return out;
}

struct Totals {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t window = 0;
  std::uint64_t wrong = 0;
  std::uint64_t senders_open = 0;
  std::uint64_t receivers_open = 0;
  std::string problem;
  bool stop = false;
};

class World {
 public:
  World(net::Executor executor, Arguments arguments, net::TlsContext client, net::TlsContext server,
        net::Fd listener)
      : arguments_(std::move(arguments)),
        client_(std::move(client)),
        server_(std::move(server)),
        listener_(std::move(listener)),
        tasks_(executor) {}
  void start() {
    tasks_.spawn("accept", accept());
    for (std::uint64_t i = 0; i < arguments_.streams; ++i) tasks_.spawn("send", send(i));
  }
  net::Task<void> close() {
    tasks_.cancel();
    co_await tasks_.join();
  }
  Totals totals;

 private:
  net::Task<void> send(std::uint64_t salt) {
    auto link = co_await net::tls_connect(client_, arguments_.front, arguments_.front.host,
                                          net::now() + kConnectMax);
    if (!link) {
      totals.problem = link.error().text();
      co_return;
    }
    ++totals.senders_open;
    const Instant deadline = net::now() + kStreamMax;
    std::string bytes;
    put_u64(bytes, salt);  // Says which stream this is.
    std::uint64_t sent = 0;
    while (!totals.stop) {
      bytes += payload(salt, sent, kWriteBytes);
      const auto wrote = co_await net::write_all(**link, std::move(bytes), deadline);
      bytes.clear();
      if (!wrote) {
        totals.problem = wrote.error().text();
        break;
      }
      sent += kWriteBytes;
      totals.sent += kWriteBytes;
    }
    (void)(*link)->send_close();
    // The relay's own closing word: until then it may still have bytes of ours.
    std::ignore = co_await net::read_some(**link, 1, deadline);
    --totals.senders_open;
  }
  net::Task<void> accept() {
    for (;;) {
      auto taken = co_await net::accept_tcp(listener_.get());
      if (!taken) co_return;
      tasks_.spawn("receive", receive(std::move(*taken)));
    }
  }
  net::Task<void> receive(net::Fd tcp) {
    auto link = co_await net::tls_accept(server_, std::move(tcp), net::now() + kConnectMax);
    if (!link) {
      totals.problem = link.error().text();
      co_return;
    }
    ++totals.receivers_open;
    const Instant deadline = net::now() + kStreamMax;
    std::string early;
    while (early.size() < 8) {
      auto some = co_await net::read_some(**link, kReadBytes, deadline);
      if (!some || some->empty()) break;
      early += *some;
    }
    if (early.size() >= 8) {
      Flow flow(get_u64(early), 0);
      take(flow, std::string_view(early).substr(8));
      for (;;) {
        const auto some = co_await net::read_some(**link, kReadBytes, deadline);
        if (!some || some->empty()) break;
        take(flow, *some);
      }
      totals.wrong += flow.wrong_pieces();
    }
    (*link)->close();
    --totals.receivers_open;
  }
  void take(Flow& flow, std::string_view bytes) {
    flow.received(bytes, Instant{});
    totals.received += bytes.size();
    totals.window += bytes.size();
  }
  static std::uint64_t get_u64(std::string_view bytes) {
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
    return value;
  }

  Arguments arguments_;
  net::TlsContext client_;
  net::TlsContext server_;
  net::Fd listener_;
  net::TaskScope tasks_;
};

template <class Call>
auto on_loop(net::asio::io_context& loop, Call call) {
  std::promise<decltype(call())> done;
  auto result = done.get_future();
  net::asio::post(loop, [&] { done.set_value(call()); });
  return result.get();
}

bool wait_for(net::asio::io_context& loop, World& world,
              bool (*holds)(const Totals&, std::uint64_t), std::uint64_t number) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!on_loop(loop, [&] { return holds(world.totals, number); })) {
    if (std::chrono::steady_clock::now() > until) return false;
    // lint: allow sleep because a condition is polled, with a deadline
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

int serve(net::asio::io_context& loop, World& world) {
  std::string line;
  auto began = std::chrono::steady_clock::now();
  while (std::getline(std::cin, line) && line != "stop") {
    if (line == "begin") {
      (void)on_loop(loop, [&] { return world.totals.window = 0; });
      began = std::chrono::steady_clock::now();
    } else if (line == "report") {
      const auto bytes = on_loop(loop, [&] { return world.totals.window; });
      const std::chrono::duration<double> length = std::chrono::steady_clock::now() - began;
      std::printf("{\"window_s\":%.3f,\"bytes\":%llu}\n", length.count(),
                  static_cast<unsigned long long>(bytes));
      std::fflush(stdout);
    }
  }
  (void)on_loop(loop, [&] { return world.totals.stop = true; });
  const bool ended = wait_for(
      loop, world, [](const Totals& t, std::uint64_t) { return t.receivers_open == 0; }, 0);
  const Totals totals = on_loop(loop, [&] { return world.totals; });
  const bool good = ended && totals.sent == totals.received && totals.wrong == 0;
  std::printf("{\"ok\":%s,\"written\":%llu,\"received\":%llu,\"wrong\":%llu}\n",
              good ? "true" : "false", static_cast<unsigned long long>(totals.sent),
              static_cast<unsigned long long>(totals.received),
              static_cast<unsigned long long>(totals.wrong));
  std::fflush(stdout);
  return good ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  Arguments arguments = parse(argc, argv);
  const std::uint64_t streams = arguments.streams;
  auto client =
      net::TlsContext::client({.ca_pem = arguments.certificate, .ca_sha256 = {}, .alpn = {}});
  auto server = net::TlsContext::server({.certificate_chain_pem = arguments.certificate,
                                         .private_key_pem = arguments.key,
                                         .alpn = {}});
  auto listener = net::listen_tcp(arguments.back);
  if (!client) die(client.error().text());
  if (!server) die(server.error().text());
  if (!listener) die(listener.error().text());
  net::asio::io_context loop(1);
  auto work = net::asio::make_work_guard(loop);
  World world(loop.get_executor(), std::move(arguments), std::move(*client), std::move(*server),
              std::move(*listener));
  std::thread thread([&] { loop.run(); });
  (void)on_loop(loop, [&] { return world.start(), true; });
  const bool ready = wait_for(
      loop, world,
      [](const Totals& t, std::uint64_t n) { return t.senders_open == n && t.receivers_open == n; },
      streams);
  if (!ready) die("the streams did not open: " + world.totals.problem);
  std::printf("ready {\"streams\":%llu}\n", static_cast<unsigned long long>(streams));
  std::fflush(stdout);
  const int status = serve(loop, world);
  std::promise<void> closed;
  net::asio::co_spawn(loop, world.close(), [&](const std::exception_ptr& failed) {
    if (failed) std::rethrow_exception(failed);
    closed.set_value();
  });
  closed.get_future().wait();
  work.reset();
  loop.stop();
  thread.join();
  return status;
}
