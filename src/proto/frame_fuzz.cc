// Foreign bytes of a link: parsed, and written again as they were.
#include <cstdlib>

#include "proto/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan::wire;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (;;) {
    std::size_t used = 0;
    const auto frame = parse_frame(rest, used);
    if (!frame || !*frame) return 0;
    std::string again;
    append_frame(again, **frame);
    if (again != rest.substr(0, used)) std::abort();
    rest.remove_prefix(used);
  }
}
