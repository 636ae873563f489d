#include "common/result.h"

#include <cstring>

namespace everspan {

std::string Error::text() const {
  std::string out = message.empty() ? code : message;
  if (!kept.empty()) out += ". " + kept;
  if (!next.empty()) out += ". " + next;
  return out;
}

std::unexpected<Error> fail_errno(std::string code, std::string what, int errno_value) {
  char text[128] = {};
  const char* reason = strerror_r(errno_value, text, sizeof text);
  return fail(std::move(code), std::move(what) + ": " + reason);
}

}  // namespace everspan
