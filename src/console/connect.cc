#include "console/connect.h"

#include <signal.h>

#include "console/connect_session.h"

namespace everspan::console {
namespace {

net::Task<void> run(net::asio::io_context& loop, Connect& connect, int& status) {
  status = co_await connect.finish();
  loop.stop();
}

}  // namespace

namespace {

struct Start {
  GrantedSession session;
  SigningKey key;
  std::unique_ptr<StateFile> file;
  std::optional<SavedConsole> saved;
};

Result<Start> start_new(const ConnectOptions& options, const Notices& notices) {
  std::unique_ptr<StateFile> file;
  if (!options.state_file.empty()) {
    auto made = StateFile::create(options.state_file);
    if (!made) return fail(made);
    file = std::move(*made);
  }
  SigningKey key = SigningKey::generate();
  SessionWish wish{.endpoint = options.endpoint,
                   .rights = {options.no_terminal ? "exec" : "terminal"},
                   .reason = options.reason,
                   .via = options.via,
                   .notice = [&](const std::string& text) { notices.say(text, false); }};
  auto session = request_session(options.site, wish, key);
  if (!session) {
    if (file) file->remove();
    return fail(session);
  }
  return Start{std::move(*session), std::move(key), std::move(file), std::nullopt};
}

// What was moved behind the state's back, as the kernel counted it.
Result<void> catch_up(SavedConsole& saved, StateFile& file, const ConnectOptions& options) {
  const auto rest = taken_since(file, saved.input);
  if (!rest) return fail(rest);
  for (auto& [number, closed_sent, closed_received, bytes] : saved.session.channels) {
    if (number != kMain && number != kError) continue;
    const bool main = number == kMain;
    const auto given = static_cast<std::uint64_t>(
        settle(main ? file.marks().main : file.marks().error, main ? options.out : options.err,
               static_cast<std::int64_t>(bytes.consumed)));
    if (given > bytes.advertised) return fail("bad_state", "The console's output is damaged");
    bytes.consumed = given;
    if (main && !bytes.finished) bytes.kept += *rest;
    if (bytes.kept.size() > relay_end::ChannelLimits{}.ring_bytes)
      return fail("bad_state", "The console's input is damaged");
  }
  return {};
}

Result<Start> start_again(const ConnectOptions& options) {
  auto file = StateFile::open(options.state_file);
  if (!file) return fail(file);
  const auto bytes = (*file)->read();
  if (!bytes) return fail(bytes);
  auto saved = decode_console(*bytes);
  if (!saved) return fail(saved);
  if (const auto done = catch_up(*saved, **file, options); !done) return fail(done);
  auto key = SigningKey::from_seed(saved->key_seed);
  if (!key) return fail(key);
  GrantedSession session{.signed_grant = saved->signed_grant,
                         .candidates = saved->session.candidates};
  if (const auto read = read_grant(session); !read) return fail(read);
  return Start{std::move(session), std::move(*key), std::move(*file), std::move(*saved)};
}

int run_session(const ConnectOptions& options, Start start, net::TlsContext tls) {
  net::asio::io_context loop(1);
  Connect connect(loop, options);
  const std::uint64_t used = start.saved ? start.saved->session.generation_used : 0;
  ConsoleEnd end(loop.get_executor(), std::move(start.session), std::move(start.key),
                 std::move(tls), used, connect);
  connect.begin(end);
  if (start.file)
    connect.keep_state(*start.file, start.saved ? start.saved->input : InputPosition{});
  if (start.saved) connect.go_on_from(*start.saved);
  connect.start();
  int status = kOwnError;
  net::TaskScope tasks(loop.get_executor());
  tasks.spawn("connect", run(loop, connect, status));
  loop.run();
  loop.restart();  // The last task's own end.
  loop.poll();
  if (start.file && connect.ended()) start.file->remove();
  return status;
}

}  // namespace

int run_connect(const ConnectOptions& given) {
  signal(SIGPIPE, SIG_IGN);
  const Notices notices(given.err);
  ConnectOptions options = given;
  auto start = options.resume ? start_again(options) : start_new(options, notices);
  if (!start) return notices.error(start.error().text()), kOwnError;
  if (start->saved) options.no_terminal = start->saved->no_terminal;
  auto tls = net::TlsContext::client(
      {.ca_pem = options.site.ca_pem, .ca_sha256 = {}, .alpn = std::string(wire::kAlpn)});
  if (!tls) return notices.error(tls.error().text()), kOwnError;
  return run_session(options, std::move(*start), std::move(*tls));
}

}  // namespace everspan::console
