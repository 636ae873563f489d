// Foreign bytes as metadata of every role, and as manifest: read, and what was read writes the same
// again.
#include <cstdlib>

#include "update/core/manifest.h"
#include "update/core/metadata.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan::update;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto json = parse_json(text)) {
    const auto again = parse_json(to_json_text(*json));
    if (!again || *again != *json) std::abort();
  }
  if (const auto envelope = parse_envelope(text, 1U << 20)) {
    const auto root = parse_root(*envelope);
    (void)parse_timestamp(*envelope).has_value();
    (void)parse_snapshot(*envelope).has_value();
    (void)parse_targets(*envelope).has_value();
    // Nobody signs by chance.
    if (root && check_signatures(*envelope, *root, Role::root) && envelope->signatures.empty())
      std::abort();
  }
  if (const auto manifest = parse_manifest(text)) {
    const auto again = parse_manifest(write_manifest(*manifest));
    if (!again || again->files.size() != manifest->files.size()) std::abort();
    for (const auto& file : manifest->files)
      if (file.path.starts_with('/') || file.path.find("..") == 0) std::abort();
  }
  return 0;
}
