// A console's state to and from bytes (src/proto/console.proto). Read ones are checked: they are a
// file.
#pragma once
#include <optional>
#include <string>

#include "common/result.h"
#include "relay/end/session_end.h"

namespace everspan::console {

struct SavedConsole {
  std::string key_seed;
  std::string signed_grant;
  relay_end::SessionState session;
  bool no_terminal = false;
  bool opened = false;
  std::optional<int> exit;
  bool main_over = false;
  bool error_over = false;
};

[[nodiscard]] std::string encode_console(const SavedConsole& saved);
[[nodiscard]] Result<SavedConsole> decode_console(const std::string& bytes);

}  // namespace everspan::console
