// A probe session: both ends of a real session, played by this process, through a relay from end to
// end: TLS, hello, grant, attach with proof, bytes both ways, durable recording, tombstone. It is
// how a candidate shows that it can carry sessions before anything is moved to it (pitfall: a
// health check that passes because nothing happens yet).
#pragma once
#include <string>
#include <vector>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "net/address.h"
#include "net/async.h"

namespace everspan::node {

struct ProbeTarget {
  net::Address address;
  std::string server_name;  // Must be in its certificate.
  std::string ca_pem;
};
struct ProbeIdentity {
  SiteId site;
  EndpointId endpoint;
  const SigningKey* endpoint_key = nullptr;
  const SigningKey* grant_key = nullptr;
  Epoch epoch;
};
struct ProbeReport {
  std::string release;      // Of the relay that answered.
  std::uint64_t bytes = 0;  // Each way.
};

// The probe endpoint's key follows from a secret of the site, so that every process of the site
// knows it.
[[nodiscard]] Result<SigningKey> probe_key(const std::string& request_key);
[[nodiscard]] EndpointId probe_endpoint(const SigningKey& key);

// Codes: those of TLS and of the relay's refusals, timeout, probe_failed.
[[nodiscard]] net::Task<Result<ProbeReport>> run_probe(ProbeTarget target, ProbeIdentity identity,
                                                       Instant deadline);

}  // namespace everspan::node
