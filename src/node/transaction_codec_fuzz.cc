// Foreign bytes as what the other site process forwards: writes and their outcomes. What is read
// goes out the same again.
#include <cstdlib>

#include "node/transaction_codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan;
  using namespace everspan::node;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (const auto transaction = decode_transaction(bytes)) {
    const std::string written = encode_transaction(*transaction);
    const auto again = decode_transaction(written);
    if (!again || encode_transaction(*again) != written) std::abort();
  }
  if (const auto outcome = decode_outcome(bytes)) {
    const std::string written = encode_outcome(*outcome);
    const auto again = decode_outcome(written);
    if (!again || encode_outcome(*again) != written) std::abort();
  }
  return 0;
}
