// A load of sessions from one process that plays both ends of each: real sessions of the API, real
// TLS legs, the product's own ends, so that moves and losses go as in the product.
//
//   leg_load --site HOST:PORT --ca FILE --token-file FILE --agent-data DIR --sessions N
//            (--interval-ms MS --bytes N | --bulk)
//
// Says `ready {...}` when all sessions carry data, then takes lines: `begin` (a window begins),
// `report` (a JSON line about it), `stop` (what is under way arrives, sessions end; a last JSON
// line). Status 0: every byte that was sent arrived once, in order and unchanged.
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <iterator>
#include <thread>

#include "load_world.h"
#include "net/address.h"
#include "proto/frame.h"

namespace {

using namespace everspan;
using namespace everspan::bench;

constexpr auto kReadyMax = std::chrono::seconds(30);
constexpr auto kArriveMax = std::chrono::seconds(30);
constexpr auto kEndMax = std::chrono::seconds(10);

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "leg_load: %s\n", why.c_str());
  std::exit(2);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) die("cannot read " + path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::size_t number(const std::string& text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value == 0)
    die("a number above 0 was expected, not " + text);
  return value;
}

LoadOptions parse(int argc, char** argv) {
  LoadOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--bulk") {
      options.bulk = true;
      continue;
    }
    if (i + 1 == argc) die("an argument of " + name + " is missing");
    const std::string value = argv[++i];
    if (name == "--site") {
      const auto at = net::Address::parse(value);
      if (!at) die(at.error().text());
      options.site.host = at->host;
      options.site.port = at->port;
    } else if (name == "--ca") {
      options.site.ca_pem = read_file(value) + "\n";
    } else if (name == "--token-file") {
      options.site.token = read_file(value);
    } else if (name == "--agent-data") {
      options.agent_data = value;
    } else if (name == "--sessions") {
      options.sessions = number(value);
    } else if (name == "--interval-ms") {
      options.interval = std::chrono::milliseconds(number(value));
    } else if (name == "--bytes") {
      options.message_bytes = number(value);
    } else {
      die("unknown option " + name);
    }
  }
  return options;
}

// Runs `call` on the loop's thread and waits for its result.
template <class Call>
auto on_loop(net::asio::io_context& loop, Call call) {
  std::promise<decltype(call())> done;
  auto result = done.get_future();
  net::asio::post(loop, [&] {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      done.set_value();
    } else {
      done.set_value(call());
    }
  });
  return result.get();
}

bool wait_for(net::asio::io_context& loop, std::chrono::seconds at_most,
              const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  while (!on_loop(loop, holds)) {
    if (std::chrono::steady_clock::now() > until) return false;
    // lint: allow sleep because a condition is polled, with a deadline
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

double ms(Duration length) {
  return std::chrono::duration<double, std::milli>(length).count();
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : printable(text, 300)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

void say_window(WindowReport report, const LoadWorld& world) {
  auto& stalls = report.stalls;
  std::ranges::sort(stalls);
  const auto at = [&](double q) {
    return ms(stalls[static_cast<std::size_t>(q * static_cast<double>(stalls.size() - 1))]);
  };
  const auto& counters = world.counters();
  std::printf(
      "{\"window_s\":%.3f,\"bytes\":%llu,\"stall_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"max\":%.3f},"
      "\"generator_late_ms\":%.3f,\"moves\":%llu,\"moves_s\":%.3f,\"losses\":%llu,"
      "\"failed_dials\":%llu,\"ended\":%llu,\"link_moves\":%llu,\"last_problem\":%s}\n",
      ms(report.length) / 1000, static_cast<unsigned long long>(report.bytes), at(0.5), at(0.99),
      at(1), ms(report.generator_late), static_cast<unsigned long long>(counters.moves),
      ms(counters.last_move - counters.first_move) / 1000,
      static_cast<unsigned long long>(counters.losses),
      static_cast<unsigned long long>(counters.failed_dials),
      static_cast<unsigned long long>(counters.ended),
      static_cast<unsigned long long>(world.link_moves()), quoted(counters.last_problem).c_str());
  std::fflush(stdout);
}

// All sessions, one after the other, as people would open them.
void open_all(net::asio::io_context& loop, LoadWorld& world, const LoadOptions& options,
              const std::string& endpoint) {
  for (std::size_t i = 0; i < options.sessions; ++i) {
    const console::SessionWish wish{
        .endpoint = endpoint, .rights = {"exec"}, .reason = {}, .via = {}, .notice = {}};
    auto granted = console::request_session(options.site, wish, world.console_key());
    if (!granted) die("session " + std::to_string(i + 1) + ": " + granted.error().text());
    on_loop(loop, [&] { world.add_session(std::move(*granted)); });
  }
  const bool ready = wait_for(loop, std::chrono::duration_cast<std::chrono::seconds>(kReadyMax),
                              [&] { return world.open_sessions() == options.sessions; });
  if (!ready) {
    const auto open = on_loop(loop, [&] { return world.open_sessions(); });
    die("only " + std::to_string(open) + " sessions opened; " + world.counters().last_problem);
  }
}

int finish(net::asio::io_context& loop, LoadWorld& world, std::size_t sessions) {
  on_loop(loop, [&] { world.stop_sending(); });
  const bool arrived = wait_for(loop, kArriveMax, [&] { return world.all_arrived(); });
  const auto early = on_loop(loop, [&] { return world.counters().ended; });
  on_loop(loop, [&] { world.request_end(); });
  const bool ended = wait_for(loop, kEndMax, [&] { return world.ended_sessions() == sessions; });
  const auto totals = on_loop(loop, [&] { return world.totals(); });
  const bool good = arrived && early == 0 && totals.wrong == 0;
  std::printf(
      "{\"ok\":%s,\"written\":%llu,\"received\":%llu,\"wrong\":%llu,\"dropped\":%llu,"
      "\"all_ended\":%s}\n",
      good ? "true" : "false", static_cast<unsigned long long>(totals.written),
      static_cast<unsigned long long>(totals.received),
      static_cast<unsigned long long>(totals.wrong), static_cast<unsigned long long>(early),
      ended ? "true" : "false");
  std::fflush(stdout);
  return good ? 0 : 1;
}

int serve(net::asio::io_context& loop, LoadWorld& world, const LoadOptions& options) {
  std::string line;
  while (std::getline(std::cin, line) && line != "stop") {
    if (line == "begin") on_loop(loop, [&] { world.begin_window(); });
    if (line == "report") on_loop(loop, [&] { say_window(world.window(), world); });
  }
  return finish(loop, world, options.sessions);
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  LoadOptions options = parse(argc, argv);
  auto identity = agent::load_identity(options.agent_data);
  auto key = agent::load_key(options.agent_data);
  if (!identity) die(identity.error().text());
  if (!key) die(key.error().text());
  auto tls = net::TlsContext::client(
      {.ca_pem = identity->ca_pem, .ca_sha256 = {}, .alpn = std::string(wire::kAlpn)});
  if (!tls) die(tls.error().text());
  const std::string endpoint = identity->name;

  net::asio::io_context loop(1);
  auto work = net::asio::make_work_guard(loop);
  auto world = std::make_unique<LoadWorld>(loop.get_executor(), options, std::move(*identity),
                                           std::move(*key), std::move(*tls));
  std::thread thread([&] { loop.run(); });
  on_loop(loop, [&] { world->start(); });
  if (!wait_for(loop, kEndMax, [&] { return world->standing(); }))
    die("no standing link: " + world->counters().last_problem);
  open_all(loop, *world, options, endpoint);
  on_loop(loop, [&] { world->start_messages(); });
  std::printf("ready {\"sessions\":%zu}\n", options.sessions);
  std::fflush(stdout);
  const int status = serve(loop, *world, options);

  std::promise<void> closed;
  net::asio::co_spawn(loop, world->close(), [&](const std::exception_ptr& failed) {
    if (failed) std::rethrow_exception(failed);
    closed.set_value();
  });
  closed.get_future().wait();
  on_loop(loop, [&] { world.reset(); });
  work.reset();
  loop.stop();
  thread.join();
  return status;
}
