#include "site/joining.h"

#include "proto/records.pb.h"
#include "site/records.h"

namespace everspan::site {
namespace {

Result<std::string> account_of(const NodeId& joined, const store::Record& record) {
  auto account = parse_record<pb::Account>(kKindAccount, record.bytes);
  if (!account) return fail(account);
  account->set_node_id(joined.raw());
  return account->SerializeAsString();
}

}  // namespace

Result<std::vector<store::Write>> appliance_records_for(Context& site, const NodeId& joined) {
  std::vector<store::Write> writes;
  const std::string from = appliance_setting_key(site.node, "");
  for (const std::string_view kind : {kKindAccount, kKindSetting}) {
    const auto records = site.log.list(kind, from);
    if (!records) return fail(records);
    for (const store::Record& record : *records) {
      const std::string key = appliance_setting_key(joined, record.key.substr(from.size()));
      const auto there = site.log.get(kind, key);
      if (!there) return fail(there);
      if (*there) continue;
      Result<std::string> bytes = record.bytes;
      if (kind == kKindAccount) bytes = account_of(joined, record);
      if (!bytes) return fail(bytes);
      writes.push_back(store::Write::put(std::string(kind), key, std::move(*bytes), Revision{0}));
    }
  }
  return writes;
}

}  // namespace everspan::site
