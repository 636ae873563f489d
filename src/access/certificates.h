// The site's own certificate authority (ECDSA P-256, 10 years) and server certificates issued by
// it. PEM in and out; nothing is written to disk here. Keys are PKCS#8 PEM, not encrypted: whoever
// stores them protects them (0600, or sealed).
#pragma once
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace everspan::access {

struct KeyAndCertificate {
  std::string certificate_pem;
  std::string key_pem;  // Secret.
};

// Path length 0: it can sign servers, no further authority.
[[nodiscard]] Result<KeyAndCertificate> make_authority(const std::string& site_name, WallTime now);
// A server certificate for `names` (DNS names and IP addresses), 825 days, never past the
// authority's own end. Code bad_name.
[[nodiscard]] Result<KeyAndCertificate> issue_certificate(const KeyAndCertificate& authority,
                                                          const std::vector<std::string>& names,
                                                          WallTime now);
// hex SHA-256 of the DER of the first certificate in `pem`: what an enrolment token pins.
[[nodiscard]] Result<std::string> certificate_sha256(const std::string& pem);
[[nodiscard]] Result<WallTime> certificate_not_after(const std::string& pem);
// The chain leads to the authority at `now`, names `name`, and `key_pem` is the leaf's key.
// Codes: bad_certificate.
[[nodiscard]] Result<void> check_certificate(const std::string& certificate_pem,
                                             const std::string& key_pem,
                                             const std::string& authority_pem,
                                             const std::string& name, WallTime now);

}  // namespace everspan::access
