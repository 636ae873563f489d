// A hostile node or peer: frames of chance to one end of a session, with dials that fail, time that
// passes and an application that reads and writes. The end may refuse and end; its own invariants
// (checked inside) hold, and bytes come in order.
#include <cstdlib>

#include "common/bytes.h"
#include "proto/link.pb.h"
#include "relay/end/session_end.h"

namespace {

using namespace everspan;
using namespace everspan::relay_end;
using namespace std::chrono_literals;

SessionOptions options() {
  SessionOptions out{.side = Side::console, .session_id = std::string(16, 's')};
  out.orders.candidates = {{"a", 1, ""}, {"b", 2, ""}};
  out.orders.heartbeat = 1s;
  out.limits.ring_bytes = 4096;
  return out;
}

class World {
 public:
  World() : end_(options(), now_) {
    end_.start(now_);
    std::ignore = end_.add_channel(1, now_);
    take();
  }
  // The first byte says what happens; the rest is what it needs.
  void step(std::string_view& input) {
    const auto what = static_cast<unsigned char>(input[0]);
    input.remove_prefix(1);
    now_ += std::chrono::milliseconds(what);
    switch (what % 6) {
      case 0:
        end_.leg_failed(leg_, now_);
        break;
      case 1:
        end_.tick(now_);
        break;
      case 2:
        std::ignore = end_.write(1, input.substr(0, 20), now_);
        break;
      case 3:
        attach();
        break;
      default:
        frame(input);
    }
    take();
  }

 private:
  void attach() {
    pb::LinkMessage message;
    message.mutable_attached()->set_generation(leg_);
    message.mutable_attached()->set_peer_attached(true);
    end_.leg_frame(leg_, wire::Control{message.SerializeAsString()}, now_);
  }
  void frame(std::string_view& input) {
    std::size_t used = 0;
    const auto frame = wire::parse_frame(input, used);
    if (!frame || !*frame) return;
    end_.leg_frame(leg_, **frame, now_);
    input.remove_prefix(used);
  }
  void take() {
    for (auto& action : end_.take_actions()) {
      if (const auto* dial = std::get_if<Dial>(&action)) leg_ = dial->generation;
      if (const auto* readable = std::get_if<Readable>(&action)) read(readable->channel);
    }
    // As a console that is killed and goes on: what an end says of itself another can take.
    SessionEnd other(options(), now_);
    other.restore(end_.state(), now_);
  }
  void read(std::uint32_t channel) {
    const std::string_view bytes = end_.readable(channel);
    end_.consume(channel, (bytes.size() + 1) / 2, now_);
  }

  Instant now_{1h};
  SessionEnd end_;
  std::uint64_t leg_ = 1;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  World world;
  while (!input.empty()) world.step(input);
  return 0;
}
