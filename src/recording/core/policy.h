// The words of policies, as in grants, settings and files.
#pragma once
#include <string_view>

#include "recording/core/types.h"

namespace everspan::recording {

[[nodiscard]] constexpr std::string_view policy_word(Policy policy) {
  switch (policy) {
    case Policy::metadata:
      return "metadata";
    case Policy::off:
      return "off";
    case Policy::strict:
      break;
  }
  return "strict";
}

// A word of a later release is taken as the strictest policy.
[[nodiscard]] constexpr Policy policy_of(std::string_view word) {
  if (word == policy_word(Policy::metadata)) return Policy::metadata;
  if (word == policy_word(Policy::off)) return Policy::off;
  return Policy::strict;
}

}  // namespace everspan::recording
