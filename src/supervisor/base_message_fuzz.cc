// Foreign bytes as what a site process says to base, and as base's state file (with its checksum
// put right, which chance never finds): what is read is written the same again.
#include <cstdlib>

#include "common/bytes.h"
#include "common/crypto.h"
#include "supervisor/messages.h"
#include "supervisor/state_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::supervisor;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  (void)parse_from_site(InstanceId{1}, bytes).has_value();
  (void)parse_state(bytes).has_value();
  const std::string line = bytes.substr(0, bytes.find('\n')) + "\n";
  const auto state = parse_state(line + "sha256=" + sha256_hex(line) + "\n");
  if (!state) return 0;
  const std::string written = write_state(*state);
  const auto again = parse_state(written);
  if (!again || write_state(*again) != written) std::abort();
  return 0;
}
