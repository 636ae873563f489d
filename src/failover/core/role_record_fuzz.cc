// Whatever lies in the file: a record that reads back as itself, or a refusal.
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/bytes.h"
#include "common/check.h"
#include "common/crypto.h"
#include "failover/core/role_record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  // With a right checksum, so that the parts behind it are reached as well.
  std::string body(reinterpret_cast<const char*>(data), size);
  for (const bool sealed : {false, true}) {
    if (sealed) body += to_string(Bytes(sha256(body)));
    const auto read = failover::decode_role_record(body);
    if (!read) continue;
    check(failover::encode_role_record(*read) == body, "what was read is written as it was");
  }
  return 0;
}
