// What the site is: id, name, authority, certificate, keys. Read from the log at start and after a
// change of the certificate; small, immutable values.
#pragma once
#include <string>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/log.h"

namespace everspan::site {

struct SiteIdentity {
  SiteId id;
  std::string name;
  std::string ca_pem;
  std::string certificate_pem;  // Leaf only.
  std::vector<std::string> certificate_names;
  std::string grant_public_key;  // 32 bytes.
  WallTime created_at;
  std::string ca_sha256;  // hex, of the DER: what enrolment tokens pin.

  // For net::TlsServerOptions: leaf first, root last.
  [[nodiscard]] std::string certificate_chain_pem() const { return certificate_pem + ca_pem; }
};
// Code no_site: the log holds none (a node that has not joined yet).
[[nodiscard]] Result<SiteIdentity> load_identity(store::LogReader& log);

// Keep in one place, hand out as references, never log.
struct SiteSecrets {
  std::string certificate_key_pem;
  SigningKey grant_key;
  std::string ticket_key;   // 32 bytes.
  std::string request_key;  // 32 bytes: what a repeated call must give again is derived from it.
};
[[nodiscard]] Result<SiteSecrets> load_secrets(store::LogReader& log);

// 32 bytes that only this site can make again from the same words (HMAC-SHA256).
[[nodiscard]] std::string derive_secret(const std::string& request_key, std::string_view purpose,
                                        const RequestId& request);

}  // namespace everspan::site
