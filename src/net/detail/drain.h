// Closing a socket that still holds unread bytes resets it, and the peer may lose our last words.
#pragma once

namespace everspan::net::detail {

// Reads away what is there, without waiting and with a limit (a flooding peer gets its reset).
void drain_before_close(int socket);

}  // namespace everspan::net::detail
