// The bytes of DIR/node/register: what a node must not forget of its pair (role_core.h). Pure,
// fuzzed; golden bytes in role_record_test.cc.
//
//   "EVRG" version(1: 1) lineage(16) epoch(8) holder(16) flags(1) count(1) in_sync(16 each)
//   peer(16) [flags 1: prepared: epoch(8) revision(8) hash(32)] u16 + later fields, SHA-256 of all
//   before(32)
//
// Numbers big-endian; flags 1: prepared, 2: the holder rests, 4: yields; others are refused. Later
// fields are written back as they are; a release that writes some raises the version when an older
// one must not go on without understanding them.
#pragma once
#include <string>
#include <string_view>

#include "common/result.h"
#include "failover/core/role_core.h"

namespace everspan::failover {

inline constexpr std::size_t kRoleRecordLaterMax = 2048;

[[nodiscard]] std::string encode_role_record(const RoleRecord& record);
// Code bad_register: torn, changed, or of a version that this release does not know.
[[nodiscard]] Result<RoleRecord> decode_role_record(std::string_view bytes);

}  // namespace everspan::failover
