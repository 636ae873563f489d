// Accepts connections on the node's listeners, shakes hands on the io threads, and sorts by ALPN:
// `everspan/1` is a link for the relay, everything else is HTTP.
//
// Budgets before authentication (CONTRACT): handshakes end within 5 s; 2,000 at once, 256 from one
// address (loopback exempt); the rest waits in the kernel's backlog. stop() ends accepting only: a
// listener is shared with the process that takes over, and connections that wait in its backlog are
// that process's.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "net/async.h"
#include "net/fd.h"
#include "net/io_threads.h"
#include "net/tls.h"

namespace everspan::node {

inline constexpr std::size_t kHandshakesMax = 2000;
inline constexpr std::size_t kHandshakesPerAddressMax = 256;
inline constexpr Duration kHandshakeWithin = std::chrono::seconds(5);

class Acceptor {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // On io thread `thread`.
    virtual void take_link(std::unique_ptr<net::Transport> link, unsigned thread) = 0;
    // On io thread `thread` too; the sink moves it to where HTTP is served.
    virtual void take_http(std::unique_ptr<net::Transport> connection) = 0;
  };

  // `control` runs the accept loops. The context may be replaced while running.
  Acceptor(net::Executor control, net::IoThreads& threads, Sink& sink);
  ~Acceptor();

  void set_context(std::shared_ptr<const net::TlsContext> context);
  void start(const std::vector<int>& listeners);  // Borrowed; must outlive stop().
  [[nodiscard]] net::Task<> stop();
  [[nodiscard]] bool accepting() const { return accepting_; }

 private:
  [[nodiscard]] net::Task<> accept_loop(int listener);
  [[nodiscard]] net::Task<> handshake(net::Fd socket, std::string address, unsigned thread);
  [[nodiscard]] bool room_for(const std::string& address) const;
  void ended(const std::string& address);

  net::Executor control_;
  net::IoThreads& threads_;
  Sink& sink_;
  std::shared_ptr<const net::TlsContext> context_;
  std::unique_ptr<net::TaskScope> loops_;
  std::vector<std::unique_ptr<net::TaskScope>> handshakes_;  // One a thread, used there only.
  std::map<std::string, std::size_t> per_address_;  // Control executor only, as is `total_`.
  std::size_t total_ = 0;
  unsigned next_thread_ = 0;
  bool accepting_ = false;
  net::Wakeup room_;
};

}  // namespace everspan::node
