// Whole messages with descriptors attached, between processes of one machine (base and site, old
// and new site, agent and session-host): SOCK_SEQPACKET, SCM_RIGHTS (unix(7)).
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "net/async.h"
#include "net/fd.h"
#include "net/socket.h"

namespace everspan::net {

inline constexpr std::size_t kMessageBytesMax = 128 * 1024;
inline constexpr std::size_t kMessageFdsMax = 32;

struct Message {
  std::string bytes;
  std::vector<Fd> fds;
};

class MessageSocket {
 public:
  explicit MessageSocket(Fd socket) : socket_(std::move(socket)) {}

  static Result<std::pair<MessageSocket, MessageSocket>> pair();
  static Result<Fd> listen(const std::string& path);
  static Task<Result<MessageSocket>> accept(int listener);
  static Task<Result<MessageSocket>> connect(std::string path, Instant deadline);

  // Codes: closed (orderly end), cut, timeout, cancelled, too_long.
  [[nodiscard]] Task<Result<Message>> receive(Instant deadline);
  [[nodiscard]] Task<Result<void>> send(Message message, Instant deadline);
  // Without waiting, for programs that have no loop yet. Code would_block.
  [[nodiscard]] Result<void> send_now(const Message& message);
  [[nodiscard]] Result<Message> receive_now();
  [[nodiscard]] int fd() const { return socket_.get(); }
  [[nodiscard]] Fd release() { return std::move(socket_); }
  void close() { socket_.reset(); }

 private:
  Fd socket_;
};

}  // namespace everspan::net
