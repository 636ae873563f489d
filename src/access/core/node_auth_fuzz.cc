// A stranger's greeting as a node: what is taken fits the transcript and goes out the same again.
#include <cstdlib>
#include <tuple>

#include "access/core/node_auth.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::access;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto frame = decode_node_auth(bytes);
  if (!frame) {
    if (frame.error().code.empty() || frame.error().code.size() > 200) std::abort();
    return 0;
  }
  const std::string written = encode_node_auth(*frame);
  const auto again = decode_node_auth(written);
  if (!again || encode_node_auth(*again) != written) std::abort();
  if (!frame->claim || frame->purpose.empty()) return 0;
  // Signed and checked without a word, whatever it claims.
  const NodeTranscript transcript{std::string(32, 'e'), *frame->claim, *frame->claim,
                                  frame->purpose};
  const std::string key(kInterApplianceKeyBytes, 'k');
  if (!prove_key(key, NodeDirection::acceptor, transcript)) std::abort();
  if (verify_key(key, NodeDirection::dialler, transcript, "")) std::abort();
  std::ignore = verify_node(NodeDirection::dialler, transcript, frame->signature);
  return 0;
}
