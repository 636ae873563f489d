// Unix sockets of both kinds (stream, whole messages), by paths of any length.
#pragma once
#include <string>

#include "common/result.h"
#include "net/async.h"
#include "net/fd.h"

namespace everspan::net::detail {

// `type`: SOCK_STREAM or SOCK_SEQPACKET. Makes the folder (0700) if it is missing, refuses one that
// others can write to, and replaces a socket file that is there.
Result<Fd> listen_unix_socket(const std::string& path, int type);
Task<Result<Fd>> connect_unix_socket(std::string path, int type, Instant deadline);
Task<Result<Fd>> accept_socket(int listener);

}  // namespace everspan::net::detail
