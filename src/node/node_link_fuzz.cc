// The stream of a proved node, cut anywhere: framing takes whole messages within the limit only,
// the same however the bytes come, and what is inside is parsed.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "node/node_link.h"
#include "proto/node_link.pb.h"

namespace {

using namespace everspan::node;

// What the reader takes out of `stream` when it comes in pieces of `piece`; empty after an error.
struct Taken {
  std::vector<std::string> messages;
  bool refused = false;
};
Taken take(std::string_view stream, std::size_t piece) {
  Taken out;
  std::string in;
  while (!stream.empty()) {
    in += stream.substr(0, piece);
    stream.remove_prefix(std::min(piece, stream.size()));
    for (;;) {
      std::size_t size = 0;
      const auto next = next_node_message(in, size);
      if (!next) {
        out.refused = true;
        return out;
      }
      if (!*next) break;
      if (size != 4 + (*next)->size() || (*next)->size() > kNodeMessageBytesMax) std::abort();
      out.messages.emplace_back(**next);
      in.erase(0, size);
    }
    // What waits is less than one message.
    if (in.size() >= 4 + kNodeMessageBytesMax) std::abort();
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view stream(reinterpret_cast<const char*>(data), size);
  const Taken whole = take(stream, stream.size() + 1);
  const Taken bytewise = take(stream, 1);
  if (whole.messages != bytewise.messages || whole.refused != bytewise.refused) std::abort();
  for (const std::string& bytes : whole.messages) {
    everspan::pb::NodeMessage message;
    if (!message.ParseFromString(bytes)) continue;
    const std::string written = message.SerializeAsString();
    everspan::pb::NodeMessage again;
    if (!again.ParseFromString(written)) std::abort();
  }
  return 0;
}
