#include "console/connect.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <cstdlib>
#include <optional>

#include "console/console_end.h"
#include "console/core/escape.h"
#include "console/notices.h"
#include "console/state_codec.h"
#include "console/state_file.h"
#include "console/terminal.h"
#include "proto/link.pb.h"
#include "relay/legs/channel_pipe.h"

extern char** environ;

namespace everspan::console {
namespace {

constexpr int kOwnError = 255;
constexpr std::uint32_t kMain = 1;
constexpr std::uint32_t kError = 3;
constexpr Duration kFirstAttachMax = std::chrono::seconds(15);
constexpr Duration kEndMax = std::chrono::seconds(3);  // For the site's word that it has ended.

using relay_legs::ChannelPipe;

net::Fd copy_of(int fd) {
  return net::Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

}  // namespace

// One `connect`: a terminal or a command, from OpenChannel to its exit status.
class Connect : public relay_legs::EndDriver::Application {
 public:
  Connect(net::asio::io_context& loop, const ConnectOptions& options)
      : loop_(loop),
        options_(options),
        notices_(options.err),
        terminal_(options.in),
        escape_(options.no_terminal ? '\0' : options.escape),
        signals_(loop, SIGINT, SIGTERM, SIGHUP),
        over_(loop.get_executor()),
        down_(loop.get_executor()) {
    signals_.add(SIGWINCH);
  }

  void begin(ConsoleEnd& end);
  void keep_state(StateFile& file);
  void go_on_from(const SavedConsole& saved);
  void start();
  [[nodiscard]] bool ended() const { return ended_; }
  net::Task<int> finish();

  void on_readable(std::uint32_t channel) override {
    if (auto& pipe = channel == kError ? error_ : main_) pipe->on_readable();
  }
  void on_writable(std::uint32_t channel) override {
    if (channel == kMain && main_) main_->on_writable();
  }
  void on_control(const std::string& bytes) override;
  void on_channel_gone(std::uint32_t channel, const std::string& code,
                       const std::string& message) override;
  void on_leg(bool up) override;
  void on_ended(const std::string& code, const std::string& message) override;

 private:
  void open_channel();
  void start_pipes();
  void type(std::string& bytes);
  void quit(const std::string& why, int status);
  void check_done();
  void wait_for_signal();
  void on_signal(int number);
  void send_resize();
  relay_end::SessionEnd& session() { return end_->driver().session(); }

  net::asio::io_context& loop_;
  const ConnectOptions& options_;
  Notices notices_;
  RawTerminal terminal_;
  EscapeFilter escape_;
  net::asio::signal_set signals_;
  net::Wakeup over_;
  net::Timer down_;
  ConsoleEnd* end_ = nullptr;
  StateFile* state_ = nullptr;
  bool opened_ = false;
  std::shared_ptr<ChannelPipe> main_;
  std::shared_ptr<ChannelPipe> error_;
  bool was_up_ = false;
  bool main_over_ = false;
  bool error_over_ = false;
  bool done_ = false;
  bool ended_ = false;
  bool said_down_ = false;
  bool interrupted_ = false;
  std::optional<int> exit_;
  std::optional<int> status_;
};

void Connect::begin(ConsoleEnd& end) {
  end_ = &end;
  error_over_ = !options_.no_terminal;
  if (!options_.resume) open_channel();
}

// From here on everything that leaves is in the file first, and what was shown is known there.
void Connect::keep_state(StateFile& file) {
  state_ = &file;
  end_->driver().before_actions = [this] {
    SavedConsole saved{.key_seed = end_->key().seed(),
                       .signed_grant = end_->granted().signed_grant,
                       .session = session().state(),
                       .no_terminal = options_.no_terminal,
                       .opened = opened_,
                       .exit = exit_,
                       .main_over = main_over_,
                       .error_over = error_over_};
    std::string bytes = encode_console(saved);
    state_->write(bytes);
    wipe(bytes);
    wipe(saved.key_seed);
  };
}

void Connect::go_on_from(const SavedConsole& saved) {
  session().restore(saved.session, net::now());
  exit_ = saved.exit;
  main_over_ = saved.main_over;
  error_over_ = saved.error_over;
  if (saved.opened) start_pipes();
  if (main_over_ && main_) main_->close();
}

void Connect::start() {
  end_->driver().start();
  wait_for_signal();
  check_done();
}

void Connect::open_channel() {
  const Instant now = net::now();
  pb::SessionControl message;
  auto& open = *message.mutable_open();
  open.set_channel(kMain);
  open.set_kind(options_.no_terminal ? "exec" : "terminal");
  for (const auto& word : options_.argv) open.add_argv(word);
  const WindowSize size = window_size(options_.in);
  open.set_columns(size.columns);
  open.set_rows(size.rows);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    const std::string_view name = text.substr(0, equals);
    if (equals == std::string_view::npos || text.size() > 512) continue;
    if (name != "LANG" && !name.starts_with("LC_") && (options_.no_terminal || name != "TERM"))
      continue;
    open.add_env()->set_name(std::string(name));
    open.mutable_env(open.env_size() - 1)->set_value(std::string(text.substr(equals + 1)));
  }
  std::ignore = session().add_channel(kMain, now);
  if (options_.no_terminal) {
    open.set_error_channel(kError);
    std::ignore = session().add_channel(kError, now);
    session().finish(kError, now);
  }
  session().send_control(message, now);
  pb::SessionControl bye;  // There will be no other channel.
  bye.mutable_bye();
  session().send_control(bye, now);
}

void Connect::start_pipes() {
  if (main_) return;
  opened_ = true;
  terminal_.set();
  relay_legs::PipeOptions main;
  main.shared = true;
  main.from = copy_of(options_.in);
  main.to = copy_of(options_.out);
  main.filter = [this](std::string& bytes) { type(bytes); };
  main.on_output_end = [this] {
    main_over_ = true;
    check_done();
  };
  main_ = ChannelPipe::start(loop_.get_executor(), end_->driver(), kMain, std::move(main));
  if (!options_.no_terminal) return;
  relay_legs::PipeOptions error;
  error.shared = true;
  error.to = copy_of(options_.err);
  error.on_output_end = [this] {
    error_over_ = true;
    check_done();
  };
  error_ = ChannelPipe::start(loop_.get_executor(), end_->driver(), kError, std::move(error));
}

void Connect::type(std::string& bytes) {
  const auto wish = escape_.filter(bytes);
  if (wish == EscapeFilter::Wish::quit) quit("closed at the console", kOwnError);
  if (wish == EscapeFilter::Wish::help)
    notices_.say("~. ends the session, ~~ types one ~, ~? is this help", terminal_.is_raw());
}

void Connect::quit(const std::string& why, int status) {
  if (status_) return;
  status_ = status;
  session().request_end(why, net::now());
  over_.notify();
}

void Connect::on_control(const std::string& bytes) {
  pb::SessionControl message;
  if (!message.ParseFromString(bytes)) return;
  if (message.has_opened() && message.opened().channel() == kMain) {
    start_pipes();
  } else if (message.has_exit() && message.exit().channel() == kMain) {
    const auto& exit = message.exit();
    exit_ = exit.signal().empty() ? static_cast<int>(exit.status() & 0xff)
                                  : 128 + number_of_signal(exit.signal());
    check_done();
  }
}

void Connect::check_done() {
  if (done_ || !exit_ || !main_over_ || !error_over_) return;
  done_ = true;
  if (main_) main_->close();  // Nobody takes what is typed from here on.
  session().finish(kMain, net::now());
  end_->driver().pump();
  over_.notify();
}

void Connect::on_channel_gone(std::uint32_t channel, const std::string& code,
                              const std::string& message) {
  if (auto& pipe = channel == kError ? error_ : main_) pipe->close();
  (channel == kError ? error_over_ : main_over_) = true;
  if (!code.empty() && !status_) {
    notices_.error("The endpoint closed it (" + printable(code, 40) + "): " + printable(message));
    status_ = kOwnError;
    over_.notify();
  }
  check_done();
}

void Connect::on_leg(bool up) {
  if (up) {
    was_up_ = true;
    over_.notify();
    down_.cancel();
    if (std::exchange(said_down_, false)) notices_.say("connected again", terminal_.is_raw());
    return;
  }
  constexpr Duration kWorthSaying = std::chrono::seconds(2);
  down_.expires_after(kWorthSaying);
  down_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    said_down_ = true;
    notices_.say("the connection is lost; the session waits, and so do we (~. ends it)",
                 terminal_.is_raw());
  });
}

void Connect::on_ended(const std::string& code, const std::string& message) {
  ended_ = true;
  if (!done_ && !status_) {
    terminal_.restore();
    notices_.error("The session has ended (" + printable(code, 40) + "): " + printable(message));
    status_ = kOwnError;
  }
  over_.notify();
}

void Connect::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int number) {
    if (error) return;
    on_signal(number);
    wait_for_signal();
  });
}

void Connect::send_resize() {
  if (options_.no_terminal || !main_) return;
  const WindowSize size = window_size(options_.in);
  pb::SessionControl message;
  message.mutable_resize()->set_channel(kMain);
  message.mutable_resize()->set_columns(size.columns);
  message.mutable_resize()->set_rows(size.rows);
  session().send_control(message, net::now());
  end_->driver().pump();
}

void Connect::on_signal(int number) {
  if (number == SIGWINCH) return send_resize();
  if (number == SIGINT && main_ && !std::exchange(interrupted_, true)) {
    pb::SessionControl message;  // Once for the program there; again: for us.
    message.mutable_signal()->set_channel(kMain);
    message.mutable_signal()->set_name("INT");
    session().send_control(message, net::now());
    return end_->driver().pump();
  }
  quit("the console got a signal", 128 + number);
  end_->driver().pump();
}

net::Task<int> Connect::finish() {
  const Instant first = net::now() + kFirstAttachMax;
  while (!status_ && !done_) {
    if (!was_up_ && net::now() >= first) {
      notices_.error("The site cannot be reached: " + end_->last_problem());
      status_ = kOwnError;
      break;
    }
    std::ignore = co_await over_.wait_until(was_up_ ? Instant::max() : first);
  }
  const Instant until = net::now() + kEndMax;
  while (was_up_ && !ended_ && net::now() < until) std::ignore = co_await over_.wait_until(until);
  if (main_) main_->close();
  if (error_) error_->close();
  terminal_.restore();
  signals_.cancel();
  down_.cancel();
  co_await end_->stop();
  co_return status_ ? *status_ : exit_.value_or(kOwnError);
}

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

Result<Start> start_new(const ConnectOptions& options) {
  std::unique_ptr<StateFile> file;
  if (!options.state_file.empty()) {
    auto made = StateFile::create(options.state_file);
    if (!made) return fail(made);
    file = std::move(*made);
  }
  SigningKey key = SigningKey::generate();
  auto session = request_session(options.site, options.endpoint,
                                 {options.no_terminal ? "exec" : "terminal"}, options.reason, key);
  if (!session) {
    if (file) file->remove();
    return fail(session);
  }
  return Start{std::move(*session), std::move(key), std::move(file), std::nullopt};
}

Result<Start> start_again(const ConnectOptions& options) {
  auto file = StateFile::open(options.state_file);
  if (!file) return fail(file);
  const auto bytes = (*file)->read();
  if (!bytes) return fail(bytes);
  auto saved = decode_console(*bytes);
  if (!saved) return fail(saved);
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
  if (start.file) connect.keep_state(*start.file);
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
  auto start = options.resume ? start_again(options) : start_new(options);
  if (!start) return notices.error(start.error().text()), kOwnError;
  if (start->saved) options.no_terminal = start->saved->no_terminal;
  auto tls = net::TlsContext::client(
      {.ca_pem = options.site.ca_pem, .ca_sha256 = {}, .alpn = std::string(wire::kAlpn)});
  if (!tls) return notices.error(tls.error().text()), kOwnError;
  return run_session(options, std::move(*start), std::move(*tls));
}

}  // namespace everspan::console
