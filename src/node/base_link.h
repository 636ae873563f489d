// The site's end of its socket to base (src/proto/base.proto): requests with their outcome, events
// from base, heartbeats, and coming back to a base that was restarted.
//
// A request is sent again after base restarted, under the same key: base answers a repeated key
// from its table, so nothing happens twice. Runs on one executor; all calls there.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "net/async.h"
#include "net/message_socket.h"

namespace everspan::pb {
class BaseRequest;
class BaseReply;
class BaseToSite;
class SiteToBase;
class Welcome;
}  // namespace everspan::pb

namespace everspan::node {

struct ListenerFd {
  std::string name;
  net::Address address;
  net::Fd fd;
};

class BaseLink {
 public:
  class Events {
   public:
    virtual ~Events() = default;
    virtual void on_activate(Generation generation) = 0;
    virtual void on_release_writer(Generation generation) = 0;
    // The other process of a hand-over: `role` is what that one is.
    virtual void on_peer(int role, std::string release, int pid, net::Fd handover,
                         net::Fd bridge) = 0;
    virtual void on_peer_gone(int pid, std::string how) = 0;
    virtual void on_role_changed(int role, std::string why) = 0;
    virtual void on_retire(std::string why) = 0;
  };

  BaseLink(net::Executor executor, net::MessageSocket socket, Events& events);
  ~BaseLink();

  // Sends SiteHello and waits for base's Welcome; the listeners that came with it are in
  // listeners().
  [[nodiscard]] net::Task<Result<void>> greet(Instant deadline);
  [[nodiscard]] const pb::Welcome& welcome() const { return *welcome_; }
  void forget_init();  // Wipes the administrator's first password out of the Welcome.
  [[nodiscard]] std::vector<ListenerFd>& listeners() { return listeners_; }

  // Until cancelled: reads events; dials base again when it was restarted.
  [[nodiscard]] net::Task<> run();
  void send(const pb::SiteToBase& message);
  [[nodiscard]] net::Task<Result<std::unique_ptr<pb::BaseReply>>> request(
      std::unique_ptr<pb::BaseRequest> request, Instant deadline);
  // Now, and again to each base that was restarted.
  void say_ready(Revision read);
  // Which other process we hold hand-over sockets to; 0: none.
  void set_peer_pid(int pid) { peer_pid_ = pid; }
  void set_generation(Generation generation) { generation_ = generation; }
  [[nodiscard]] bool connected() const { return connected_; }

 private:
  struct Pending;
  [[nodiscard]] net::Task<> redial();
  [[nodiscard]] net::Task<> send_loop();
  void dispatch(net::Message message);
  [[nodiscard]] net::Message hello_message() const;
  [[nodiscard]] std::string ready_message() const;

  net::Executor executor_;
  net::MessageSocket socket_;
  Events& events_;
  std::unique_ptr<pb::Welcome> welcome_;
  std::vector<ListenerFd> listeners_;
  std::map<std::string, std::shared_ptr<Pending>> pending_;
  std::deque<net::Message> outbox_;
  net::Wakeup outbox_wakeup_;
  net::TaskScope tasks_;
  Generation generation_;
  std::optional<Revision> ready_;
  int peer_pid_ = 0;
  bool connected_ = true;
};

}  // namespace everspan::node
