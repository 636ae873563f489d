// OpenSSL's way to our socket: send(MSG_NOSIGNAL), and no recv() that must come back empty.
#pragma once
#include <openssl/bio.h>

#include "net/detail/tls_transport.h"

namespace everspan::net::detail {

// `socket` must outlive the BIO. Null: out of memory.
BIO* make_socket_bio(TlsSocket& socket);

}  // namespace everspan::net::detail
