#include "access/core/attach_proof.h"

#include "common/bytes.h"

namespace everspan::access {
namespace {

constexpr std::string_view kAttachPrefix("everspan attach 1\0", 18);
constexpr std::string_view kRegisterPrefix("everspan register 1\0", 20);

Result<void> check_exporter(std::string_view exporter) {
  if (exporter.size() == kExporterBytes) return {};
  return fail("bad_exporter", "This connection has no TLS exporter to bind the proof to");
}
std::unexpected<Error> bad_proof() {
  return fail("bad_proof", "The proof of possession does not hold for this connection");
}

std::string attach_message(std::string_view exporter, const AttachClaim& claim) {
  std::string message(kAttachPrefix);
  message += exporter;
  message += claim.session.raw();
  message += static_cast<char>(claim.side);
  put_u64(message, claim.generation);
  return message;
}
std::string register_message(std::string_view exporter, const EndpointId& endpoint) {
  return std::string(kRegisterPrefix).append(exporter).append(endpoint.raw());
}

}  // namespace

Result<std::string> prove_attach(const SigningKey& key, std::string_view exporter,
                                 const AttachClaim& claim) {
  if (auto good = check_exporter(exporter); !good) return fail(good);
  return key.sign(attach_message(exporter, claim));
}

Result<void> verify_attach(std::string_view public_key, std::string_view exporter,
                           const AttachClaim& claim, std::string_view proof) {
  if (auto good = check_exporter(exporter); !good) return good;
  if (!verify_signature(public_key, attach_message(exporter, claim), proof)) return bad_proof();
  return {};
}

Result<std::string> prove_register(const SigningKey& key, std::string_view exporter,
                                   const EndpointId& endpoint) {
  if (auto good = check_exporter(exporter); !good) return fail(good);
  return key.sign(register_message(exporter, endpoint));
}

Result<void> verify_register(std::string_view public_key, std::string_view exporter,
                             const EndpointId& endpoint, std::string_view proof) {
  if (auto good = check_exporter(exporter); !good) return good;
  if (!verify_signature(public_key, register_message(exporter, endpoint), proof))
    return bad_proof();
  return {};
}

}  // namespace everspan::access
