#include "site/identity.h"

#include <openssl/evp.h>

#include <array>

#include "access/certificates.h"
#include "common/check.h"
#include "proto/records.pb.h"
#include "site/records.h"

namespace everspan::site {
namespace {

Result<std::string> load_secret(store::LogReader& log, std::string_view key) {
  const auto record = log.get(kKindSecret, key);
  if (!record) return fail(record);
  if (!*record) return fail("no_site", "The site's " + std::string(key) + " is missing");
  auto secret = parse_record<pb::Secret>(kKindSecret, (*record)->bytes);
  if (!secret) return fail(secret);
  if (secret->value().empty())
    return fail("no_site", "The site's " + std::string(key) + " is sealed to other nodes");
  return secret->value();
}

}  // namespace

Result<SiteIdentity> load_identity(store::LogReader& log) {
  const auto record = log.get(kKindSite, kKeySite);
  if (!record) return fail(record);
  if (!*record) return fail("no_site", "This node has no site yet", "", "Join it to one");
  const auto stored = parse_record<pb::Site>(kKindSite, (*record)->bytes);
  if (!stored) return fail(stored);
  const auto id = SiteId::from_raw(stored->site_id());
  if (!id) return fail(id);
  const auto ca_sha256 = access::certificate_sha256(stored->ca_pem());
  if (!ca_sha256) return fail(ca_sha256);
  return SiteIdentity{
      .id = *id,
      .name = stored->name(),
      .ca_pem = stored->ca_pem(),
      .certificate_pem = stored->certificate_pem(),
      .certificate_names = {stored->certificate_names().begin(), stored->certificate_names().end()},
      .grant_public_key = stored->grant_public_key(),
      .created_at = {stored->created_at_ms()},
      .ca_sha256 = *ca_sha256};
}

Result<SiteSecrets> load_secrets(store::LogReader& log) {
  auto certificate_key = load_secret(log, kSecretCertificateKey);
  if (!certificate_key) return fail(certificate_key);
  auto seed = load_secret(log, kSecretGrantKey);
  if (!seed) return fail(seed);
  auto ticket_key = load_secret(log, kSecretTicketKey);
  if (!ticket_key) return fail(ticket_key);
  auto request_key = load_secret(log, kSecretRequestKey);
  if (!request_key) return fail(request_key);
  auto grant_key = SigningKey::from_seed(*seed);
  wipe(*seed);
  if (!grant_key) return fail(grant_key);
  return SiteSecrets{std::move(*certificate_key), std::move(*grant_key), std::move(*ticket_key),
                     std::move(*request_key)};
}

std::string derive_secret(const std::string& request_key, std::string_view purpose,
                          const RequestId& request) {
  std::string words(purpose);
  words += '\0';
  words += request.raw();
  return hmac_sha256(request_key, words);
}

}  // namespace everspan::site
