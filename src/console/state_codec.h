// A console's state to and from bytes (src/proto/console.proto). Read ones are checked: they are a
// file.
#pragma once
#include <optional>
#include <string>

#include "common/result.h"
#include "relay/end/session_end.h"

namespace everspan::console {

// How far standard input has gone into the session: see ConsoleInput.
struct InputPosition {
  std::uint64_t taken = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t offset = 0;
  bool operator==(const InputPosition&) const = default;
};

struct SavedConsole {
  std::string key_seed;
  std::string signed_grant;
  relay_end::SessionState session;
  bool no_terminal = false;
  bool opened = false;
  std::optional<int> exit;
  bool main_over = false;
  bool error_over = false;
  InputPosition input;
};

[[nodiscard]] std::string encode_console(const SavedConsole& saved);
[[nodiscard]] Result<SavedConsole> decode_console(const std::string& bytes);

}  // namespace everspan::console
