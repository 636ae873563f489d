// Opens links to a node: TCP, TLS, Hello, and for a leg Attach with its proof of possession
// (docs/decisions/2026-11-23-link-protocol.md). What the node says to Attach is a frame of the leg
// and is for its SessionEnd.
//
// Errors: unreachable, timeout, tls_handshake, tls_certificate, cut, closed, wire_range, bad_frame,
// the code of a Refuse.
#pragma once
#include <memory>
#include <string>

#include "common/crypto.h"
#include "common/result.h"
#include "net/async.h"
#include "net/tls.h"
#include "net/transport.h"
#include "relay/end/session_end.h"

namespace everspan::relay_legs {

struct OpenedLink {
  std::unique_ptr<net::Transport> transport;
  std::string early;     // Bytes that came behind the greeting.
  std::string exporter;  // Names this TLS connection (RFC 9266); proofs are bound to it.
  std::string site_id;
  std::string release;  // Of the node.
};

enum class LinkKind : std::uint8_t { agent = 1, leg = 2 };

[[nodiscard]] net::Task<Result<OpenedLink>> open_link(const net::TlsContext& context,
                                                      relay_end::Candidate to, LinkKind kind,
                                                      Instant deadline);

struct LegIdentity {
  std::string session_id;    // 16 bytes
  std::string signed_grant;  // Serialised SignedGrant
  relay_end::Side side = relay_end::Side::console;
};

// What Attach is signed over.
[[nodiscard]] std::string attach_proof_text(const std::string& exporter,
                                            const std::string& session_id, relay_end::Side side,
                                            std::uint64_t generation);

// `context` and `key` outlive the task.
[[nodiscard]] net::Task<Result<OpenedLink>> open_leg(const net::TlsContext& context,
                                                     const SigningKey& key, LegIdentity identity,
                                                     relay_end::Dial dial, Instant deadline);

}  // namespace everspan::relay_legs
