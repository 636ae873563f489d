// One session at the endpoint: opens what the console asks for, within the grant's rights, and ends
// the session when its work is done. Runs in the session-host.
//
// One executor. Limits: kHostChannelsMax channels at a time.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/core/grant_check.h"
#include "net/async.h"
#include "relay/legs/channel_pipe.h"
#include "relay/legs/end_driver.h"

namespace everspan::pb {
class OpenChannel;
class Resize;
class Signal;
}  // namespace everspan::pb

namespace everspan::agent {

inline constexpr std::size_t kHostChannelsMax = 64;

class HostSession : public relay_legs::EndDriver::Application {
 public:
  // `ended`: the tombstone came, or the time to live passed.
  HostSession(net::Executor executor, CheckedGrant grant, relay_end::SessionOptions options,
              relay_legs::EndDriver::Dialer& dialer, std::function<void(std::string)> ended);
  ~HostSession() override;

  [[nodiscard]] relay_legs::EndDriver& driver() { return driver_; }
  // Hangs up on what still runs, waits a little, and kills the rest. Before destruction.
  [[nodiscard]] net::Task<void> stop();

  void on_readable(std::uint32_t channel) override;
  void on_writable(std::uint32_t channel) override;
  void on_control(const std::string& session_control) override;
  void on_channel_gone(std::uint32_t channel, const std::string& code,
                       const std::string& message) override;
  void on_leg(bool up) override;
  void on_ended(const std::string& code, const std::string& message) override;

 private:
  struct Channel;
  void open(const pb::OpenChannel& request);
  void open_program(const pb::OpenChannel& request);
  void open_tunnel(const pb::OpenChannel& request);
  net::Task<void> connect_tunnel(std::uint32_t number, std::string host, std::uint16_t port);
  void refuse(std::uint32_t channel, const std::string& code, const std::string& message);
  void opened(std::uint32_t channel);
  void join(std::uint32_t channel, relay_legs::PipeOptions options);
  void open_error_channel(std::uint32_t number, std::uint32_t of, net::Fd error);
  net::Task<void> watch_program(std::uint32_t number, net::Fd watch);
  void program_ended(std::uint32_t channel, int wait_status);
  void tell_exit(std::uint32_t number, Channel& channel);
  void forget_if_over(std::uint32_t number);
  void resize(const pb::Resize& request);
  void signal(const pb::Signal& request);
  void end_when_done();
  Channel* find(std::uint32_t channel);

  net::Executor executor_;
  CheckedGrant grant_;
  std::function<void(std::string)> ended_;
  net::TaskScope tasks_;
  std::map<std::uint32_t, std::unique_ptr<Channel>> channels_;
  std::map<std::uint32_t, std::uint32_t> error_channels_;  // Of which channel it is.
  bool bye_ = false;
  bool end_asked_ = false;
  relay_legs::EndDriver driver_;
};

}  // namespace everspan::agent
