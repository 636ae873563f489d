#include "node/rehearsal.h"

#include "common/crypto.h"
#include "common/version.h"
#include "features/features.h"
#include "net/async.h"
#include "net/tls.h"
#include "node/site_view.h"
#include "site/identity.h"
#include "site/read_model.h"
#include "store/log.h"

namespace everspan::node {
namespace {

// FIPS 180-4, and RFC 8032 part 7.1, test 1: a build against a broken library shows here.
Result<void> check_crypto() {
  if (sha256_hex("abc") != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    return fail("self_test", "SHA-256 gives a wrong answer");
  const Result<std::string> seed =
      from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
  if (!seed) return fail(seed);
  const Result<SigningKey> key = SigningKey::from_seed(*seed);
  if (!key) return fail(key);
  if (to_hex(as_bytes(key->public_key())) !=
          "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" ||
      !verify_signature(key->public_key(), "", key->sign("")))
    return fail("self_test", "Ed25519 gives a wrong answer");
  return {};
}

}  // namespace

Result<void> run_self_test(const std::string& log_copy) {
  const Result<void> crypto = check_crypto();
  if (!crypto) return crypto;
  Result<std::unique_ptr<store::LogReader>> log = store::LogReader::open(log_copy);
  if (!log) return fail(log);
  const Result<store::LogHead> verified = (*log)->verify();
  if (!verified) return fail(verified);
  SiteView view;
  const Result<void> loaded = view.load(**log, net::wall_now());
  if (!loaded) return loaded;
  if (!features::level_is_known({view.feature_level()}))
    return fail("release_too_old", "This release does not know the site's feature level " +
                                       std::to_string(view.feature_level()));
  const Result<site::SiteIdentity> identity = site::load_identity(**log);
  if (!identity) return fail(identity);
  const Result<site::SiteSecrets> secrets = site::load_secrets(**log);
  if (!secrets) return fail(secrets);
  const Result<net::TlsContext> tls = net::TlsContext::server(
      {identity->certificate_chain_pem(), secrets->certificate_key_pem, {}});
  if (!tls) return fail(tls);
  const Result<std::unique_ptr<site::Catalog>> catalog =
      site::Catalog::open(log_copy + ".read", **log);
  if (!catalog) return fail(catalog);
  const Result<Revision> built = (*catalog)->refresh();
  if (!built) return fail(built);
  // What is appended and not committed is nobody's to read.
  const Result<store::LogHead> committed = (*log)->head();
  if (!committed) return fail(committed);
  if (*built != committed->revision)
    return fail("self_test", "The read model ends at another revision than the log");
  return {};
}

}  // namespace everspan::node
