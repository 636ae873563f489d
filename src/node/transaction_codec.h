// store::Transaction and its outcome to and from bytes, for the hand-over link.
#pragma once
#include <string>

#include "store/log.h"

namespace everspan::node {

[[nodiscard]] std::string encode_transaction(const store::Transaction& transaction);
[[nodiscard]] Result<store::Transaction> decode_transaction(const std::string& bytes);
[[nodiscard]] std::string encode_outcome(const store::Outcome& outcome);
[[nodiscard]] Result<store::Outcome> decode_outcome(const std::string& bytes);

}  // namespace everspan::node
