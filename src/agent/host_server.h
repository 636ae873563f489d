// The host's socket: agents that come and go, and the legs that they bring.
//
// One executor. Peers are this process's user, its starter's, or root; others are closed.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "net/async.h"
#include "net/fd.h"
#include "relay/legs/end_driver.h"

namespace everspan::agent {

class HostServer : public relay_legs::EndDriver::Dialer {
 public:
  HostServer(net::Executor executor, net::Fd listener, unsigned owner_uid,
             std::string signed_grant);
  ~HostServer() override;

  void serve(relay_legs::EndDriver& driver);  // `driver` lives until stop() ended.
  [[nodiscard]] net::Task<void> stop();
  void dial(const relay_end::Dial& dial) override;

 private:
  class AgentLink;
  friend class AgentLink;
  net::Task<void> accept_all();
  net::Task<void> greet(net::Fd socket);
  void take_agent(std::unique_ptr<net::Transport> transport, std::string early);
  void ask_agent(const relay_end::Dial& dial);
  void agent_gone(AgentLink* which);

  net::Executor executor_;
  net::Fd listener_;
  unsigned owner_uid_;
  std::string signed_grant_;
  relay_legs::EndDriver* driver_ = nullptr;
  std::shared_ptr<AgentLink> agent_;
  std::optional<relay_end::Dial> asked_;
  net::TaskScope tasks_;
};

}  // namespace everspan::agent
