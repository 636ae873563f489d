// Foreign bytes as a console's state: what is accepted is in form, is written the same again, and a
// session can go on from it.
#include <cstdlib>

#include "console/state_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::console;
  const auto saved = decode_console(std::string(reinterpret_cast<const char*>(data), size));
  if (!saved) return 0;
  const std::string written = encode_console(*saved);
  const auto again = decode_console(written);
  if (!again || encode_console(*again) != written) std::abort();
  const Instant now{std::chrono::hours(1)};
  relay_end::SessionEnd end({.side = relay_end::Side::console,
                             .session_id = std::string(16, 's'),
                             .generation_used = saved->session.generation_used},
                            now);
  end.restore(saved->session, now);
  end.start(now);
  (void)end.take_actions();
  end.tick(now + std::chrono::seconds(3));
  (void)end.take_actions();
  return 0;
}
