// Proofs of possession over the TLS connection in use (RFC 9266: channel binding by exporter), made
// by an end and checked by the node. A proof holds on its own connection, for its own session, side
// and generation only, so it can be neither replayed nor moved.
//
//   attach:    "everspan attach 1\0" + exporter (32) + session id (16) + side (1)
//              + generation (8, big-endian)
//   register:  "everspan register 1\0" + exporter (32) + endpoint id (16)
//
// The exporter is Transport::exporter(wire::kExporterLabel, kExporterBytes). An exporter of another
// size (a connection without TLS) is refused on both sides.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"

namespace everspan::access {

inline constexpr std::size_t kExporterBytes = 32;

enum class AttachSide : std::uint8_t { console = 1, agent = 2 };  // As pb::Side.

struct AttachClaim {
  SessionId session;
  AttachSide side = AttachSide::console;
  std::uint64_t generation = 0;
};

// 64 bytes. Code bad_exporter.
[[nodiscard]] Result<std::string> prove_attach(const SigningKey& key, std::string_view exporter,
                                               const AttachClaim& claim);
// `public_key`: the grant's console key, or the endpoint's enrolled key. Code bad_proof.
[[nodiscard]] Result<void> verify_attach(std::string_view public_key, std::string_view exporter,
                                         const AttachClaim& claim, std::string_view proof);

[[nodiscard]] Result<std::string> prove_register(const SigningKey& key, std::string_view exporter,
                                                 const EndpointId& endpoint);
[[nodiscard]] Result<void> verify_register(std::string_view public_key, std::string_view exporter,
                                           const EndpointId& endpoint, std::string_view proof);

}  // namespace everspan::access
