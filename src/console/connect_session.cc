#include "console/connect_session.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "proto/link.pb.h"

extern char** environ;

namespace everspan::console {
namespace {

constexpr Duration kFirstAttachMax = std::chrono::seconds(15);
constexpr Duration kEndMax = std::chrono::seconds(3);  // For the site's word that it has ended.

using relay_legs::ChannelPipe;

net::Fd copy_of(int fd) {
  return net::Fd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

}  // namespace

void Connect::begin(ConsoleEnd& end) {
  end_ = &end;
  error_over_ = !options_.no_terminal;
  if (!options_.resume) open_channel();
}

// From here on everything that leaves is in the file first, and what was shown is known there.
void Connect::keep_state(StateFile& file, const InputPosition& before) {
  state_ = &file;
  output_.emplace(file.marks().main);
  error_output_.emplace(file.marks().error);
  if (options_.no_terminal) input_.emplace(file, options_.in, before);
  end_->driver().before_actions = [this] {
    SavedConsole saved{.key_seed = end_->key().seed(),
                       .signed_grant = end_->granted().signed_grant,
                       .session = session().state(),
                       .no_terminal = options_.no_terminal,
                       .opened = opened_,
                       .exit = exit_,
                       .main_over = main_over_,
                       .error_over = error_over_};
    saved.input = input_
                      ? input_->position()
                      : InputPosition{.taken = static_cast<std::uint64_t>(state_->marks().taken)};
    std::string bytes = encode_console(saved);
    state_->write(bytes);
    if (input_) input_->noted(session().room(kMain));
    wipe(bytes);
    wipe(saved.key_seed);
  };
}

void Connect::go_on_from(const SavedConsole& saved) {
  session().restore(saved.session, net::now());
  exit_ = saved.exit;
  main_over_ = saved.main_over || !session().has_channel(kMain);
  error_over_ = saved.error_over || !session().has_channel(kError);
  if (saved.opened) start_pipes();
  if (main_over_ && main_) main_->close();
}

void Connect::start() {
  end_->driver().start();
  wait_for_signal();
  tell_size();  // This terminal may be another one than before.
  check_done();
}

void Connect::open_channel() {
  const Instant now = net::now();
  pb::SessionControl message;
  auto& open = *message.mutable_open();
  open.set_channel(kMain);
  open.set_kind(options_.no_terminal ? "exec" : "terminal");
  for (const auto& word : options_.argv) open.add_argv(word);
  size_told_ = window_size(options_.in);
  open.set_columns(size_told_.columns);
  open.set_rows(size_told_.rows);
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
  if (input_)
    main.read = [this](int fd, char* to, std::size_t n) { return input_->read(fd, to, n); };
  if (output_) main.write = [this](int fd, std::string_view b) { return output_->write(fd, b); };
  main.filter = [this](std::string& bytes) { type(bytes); };
  main.on_output_end = [this] {
    main_over_ = true;
    check_done();
  };
  main.on_broken = [this](int error) { output_broke(error); };
  main_ = ChannelPipe::start(loop_.get_executor(), end_->driver(), kMain, std::move(main));
  if (!options_.no_terminal) return;
  relay_legs::PipeOptions error;
  error.shared = true;
  error.to = copy_of(options_.err);
  if (error_output_)
    error.write = [this](int fd, std::string_view b) { return error_output_->write(fd, b); };
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
    tell_size();  // It may have changed while the channel was opened.
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

void Connect::tell_size() {
  const WindowSize size = window_size(options_.in);
  if (options_.no_terminal || !main_ || size == size_told_) return;
  size_told_ = size;
  pb::SessionControl message;
  message.mutable_resize()->set_channel(kMain);
  message.mutable_resize()->set_columns(size.columns);
  message.mutable_resize()->set_rows(size.rows);
  session().send_control(message, net::now());
  end_->driver().pump();
}

// Whoever read our output is gone (head(1) has what it wanted): the program there must not go on
// for nobody. Said as a shell says it of a local program.
void Connect::output_broke(int error) {
  if (error != EPIPE) notices_.error(fail_errno("io", "Writing the output", error).error().text());
  quit("nobody reads the output any more", error == EPIPE ? 128 + SIGPIPE : kOwnError);
  end_->driver().pump();
}

void Connect::on_signal(int number) {
  if (number == SIGWINCH) return tell_size();
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

}  // namespace everspan::console
