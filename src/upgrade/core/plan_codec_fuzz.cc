// Foreign bytes as a stored plan, as another release or a damaged record could leave it: read, and
// written again as it was read.
#include <cstdlib>

#include "upgrade/core/plan_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan::upgrade;
  const auto stored = decode_plan({reinterpret_cast<const char*>(data), size});
  if (!stored) return 0;
  const std::string written = encode_plan(*stored);
  const auto again = decode_plan(written);
  if (!again || encode_plan(*again) != written) std::abort();
  if (again->cursor != stored->cursor || again->status != stored->status) std::abort();
  return 0;
}
