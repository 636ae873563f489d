// Listening and connecting. Descriptors come in and go out as Fd, so that a supervisor can own the
// listening ones and hand them on.
#pragma once
#include <string>
#include <vector>

#include "common/result.h"
#include "net/address.h"
#include "net/async.h"
#include "net/fd.h"

namespace everspan::net {

// Bound and listening TCP socket, non-blocking, close-on-exec, SO_REUSEADDR (not REUSEPORT: a
// hand-over by it orphans queued connections).
[[nodiscard]] Result<Fd> listen_tcp(const Address& at, int backlog = 4096);
// One accepted connection, non-blocking; waits for it. Codes: cancelled, accept.
[[nodiscard]] Task<Result<Fd>> accept_tcp(int listener);
[[nodiscard]] Task<Result<Fd>> connect_tcp(Address to, Instant deadline);
[[nodiscard]] Address local_address(int socket);
[[nodiscard]] Address peer_address(int socket);

// Unix stream sockets, mode 0600 under a folder that only the owner enters. A path longer than the
// kernel's 107 bytes is reached through its folder's descriptor.
[[nodiscard]] Result<Fd> listen_unix(const std::string& path);
[[nodiscard]] Task<Result<Fd>> accept_unix(int listener);
[[nodiscard]] Task<Result<Fd>> connect_unix(std::string path, Instant deadline);
struct PeerIdentity {
  int pid = 0;
  unsigned uid = 0;
};
[[nodiscard]] Result<PeerIdentity> unix_peer(int socket);  // SO_PEERCRED.

// Waits until the descriptor is readable / writable. False: cancelled or the deadline passed.
[[nodiscard]] Task<bool> wait_readable(int fd, Instant deadline);
[[nodiscard]] Task<bool> wait_writable(int fd, Instant deadline);

}  // namespace everspan::net
