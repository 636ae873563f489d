// Foreign bytes as the stream between two site processes: taken apart into records, and the
// messages and frames in them. What was read makes the same bytes again.
#include <cstdlib>

#include "proto/bridge.pb.h"
#include "proto/frame.h"
#include "relay/detail/bridge.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::relay;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (;;) {
    std::size_t used = 0;
    const auto record = parse_bridge(rest, used);
    if (!record || !*record) return 0;
    const auto& [kind, key, body] = **record;
    if (used > rest.size() || key.size() != kBridgeKeyBytes) std::abort();
    if (kind == BridgeKind::frame && !body.empty()) {
      std::string again;
      append_bridge_frame(again, key, static_cast<Side>(body[0]), body.substr(1));
      if (again != rest.substr(0, used)) std::abort();
      std::size_t frame = 0;
      (void)wire::parse_frame(body.substr(1), frame).has_value();
    } else if (kind == BridgeKind::message) {
      pb::BridgeMessage message;
      if (message.ParseFromArray(body.data(), static_cast<int>(body.size())))
        (void)message.SerializeAsString();
    }
    rest.remove_prefix(used);
  }
}
