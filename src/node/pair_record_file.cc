#include "node/pair_record_file.h"

#include "failover/core/role_record.h"
#include "net/small_file.h"

namespace everspan::node {
namespace {

constexpr std::size_t kBytesMax = 4096;

std::string path_of(const std::string& folder) {
  return folder + "/register";
}

}  // namespace

Result<std::optional<failover::RoleRecord>> read_role_record(const std::string& folder) {
  Result<std::optional<std::string>> bytes = net::read_small_file(path_of(folder), kBytesMax);
  if (!bytes) return fail(bytes);
  if (!*bytes) return std::optional<failover::RoleRecord>();
  Result<failover::RoleRecord> record = failover::decode_role_record(**bytes);
  if (!record) return fail(record);
  return std::optional<failover::RoleRecord>(std::move(*record));
}

Result<void> write_role_record(const std::string& folder, const failover::RoleRecord& record) {
  return net::write_with_room_kept(path_of(folder), failover::encode_role_record(record));
}

}  // namespace everspan::node
