// One `connect` while it runs. Private to console/.
#pragma once
#include <boost/asio/signal_set.hpp>
#include <memory>
#include <optional>
#include <string>

#include "console/connect.h"
#include "console/console_end.h"
#include "console/core/escape.h"
#include "console/counted_io.h"
#include "console/notices.h"
#include "console/state_codec.h"
#include "console/state_file.h"
#include "console/terminal.h"
#include "relay/legs/channel_pipe.h"

namespace everspan::console {

inline constexpr int kOwnError = 255;       // As ssh(1) says its own errors.
inline constexpr std::uint32_t kMain = 1;   // The program: input and output.
inline constexpr std::uint32_t kError = 3;  // Its standard error, without a terminal.

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
  void keep_state(StateFile& file, const InputPosition& before);
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
  void on_notice(const std::string& text) override { notices_.site_says(text, terminal_.is_raw()); }
  void on_ended(const std::string& code, const std::string& message) override;

 private:
  void open_channel();
  void start_pipes();
  void type(std::string& bytes);
  void quit(const std::string& why, int status);
  void check_done();
  void wait_for_signal();
  void on_signal(int number);
  void tell_size();
  void output_broke(int error);
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
  std::optional<CountedInput> input_;  // Of a terminal nothing is counted, as a person sees it.
  std::optional<CountedOutput> output_;
  std::optional<CountedOutput> error_output_;
  WindowSize size_told_{.columns = 0, .rows = 0};
  bool opened_ = false;
  std::shared_ptr<relay_legs::ChannelPipe> main_;
  std::shared_ptr<relay_legs::ChannelPipe> error_;
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

}  // namespace everspan::console
