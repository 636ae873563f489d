#include "site/genesis.h"

#include "access/certificates.h"
#include "access/core/scopes.h"
#include "access/passwords.h"
#include "common/crypto.h"
#include "proto/base.pb.h"
#include "proto/records.pb.h"
#include "site/records.h"

namespace everspan::site {
namespace {

void put_secret(store::Transaction& into, std::string_view key, std::string value, WallTime now) {
  pb::Secret secret;
  secret.set_value(std::move(value));
  secret.set_created_at_ms(now.unix_ms);
  into.writes.push_back(store::Write::put(std::string(kKindSecret), std::string(key),
                                          secret.SerializeAsString(), Revision{0}));
}

Result<void> put_administrator(store::Transaction& into, access::Area area, const NodeId& node,
                               const std::string& name, const std::string& password, WallTime now) {
  if (auto good = access::check_name("administrator's name", name); !good) return good;
  if (auto good = access::check_new_password(password); !good) return good;
  auto hash = access::hash_password(password);
  if (!hash) return fail(hash);
  pb::Account account;
  account.set_name(name);
  account.set_area(area == access::Area::site ? pb::AREA_SITE : pb::AREA_APPLIANCE);
  account.set_password_hash(std::move(*hash));
  for (const std::string_view scope : access::scopes_of(area))
    account.add_scopes(std::string(scope));
  account.set_created_at_ms(now.unix_ms);
  account.set_password_changed_at_ms(now.unix_ms);
  if (area == access::Area::appliance) account.set_node_id(node.raw());
  into.writes.push_back(store::Write::put(std::string(kKindAccount), account_key(area, node, name),
                                          account.SerializeAsString(), Revision{0}));
  return {};
}

}  // namespace

Result<store::Transaction> first_transaction(const pb::SiteInit& init, const NodeId& node,
                                             WallTime now) {
  if (init.site_name().empty() || init.site_name().size() > 100)
    return fail("bad_name", "The site's name has 1 to 100 bytes");
  auto authority = access::make_authority(init.site_name(), now);
  if (!authority) return fail(authority);
  const std::vector<std::string> names(init.certificate_names().begin(),
                                       init.certificate_names().end());
  auto server = access::issue_certificate(*authority, names, now);
  if (!server) return fail(server);
  if (auto good = access::check_certificate(server->certificate_pem, server->key_pem,
                                            authority->certificate_pem, names.front(), now);
      !good)
    return fail(good);
  const SigningKey grant_key = SigningKey::generate();

  pb::Site site;
  site.set_site_id(random_id<SiteId>().raw());
  site.set_name(init.site_name());
  site.set_ca_pem(authority->certificate_pem);
  site.set_certificate_pem(server->certificate_pem);
  for (const std::string& name : names) site.add_certificate_names(name);
  site.set_grant_public_key(grant_key.public_key());
  site.set_created_at_ms(now.unix_ms);

  store::Transaction transaction;
  transaction.writes.push_back(store::Write::put(std::string(kKindSite), std::string(kKeySite),
                                                 site.SerializeAsString(), Revision{0}));
  put_secret(transaction, kSecretCaKey, authority->key_pem, now);
  put_secret(transaction, kSecretCertificateKey, server->key_pem, now);
  put_secret(transaction, kSecretGrantKey, grant_key.seed(), now);
  put_secret(transaction, kSecretTicketKey, random_bytes(32), now);
  put_secret(transaction, kSecretRequestKey, random_bytes(32), now);
  if (auto good = put_administrator(transaction, access::Area::site, node, init.admin_name(),
                                    init.admin_password(), now);
      !good)
    return fail(good);
  if (auto good =
          put_administrator(transaction, access::Area::appliance, node, init.appliance_admin_name(),
                            init.appliance_admin_password(), now);
      !good)
    return fail(good);
  return transaction;
}

}  // namespace everspan::site
