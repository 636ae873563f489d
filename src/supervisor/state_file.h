// DIR/base/state: what base must know after it was killed. One JSON line, then its SHA-256.
// Written whole beside the old one, fsynced, renamed, folder fsynced; mode 0600 (it holds tokens).
// A file whose checksum is wrong is refused, never guessed at.
#pragma once
#include <string>

#include "common/result.h"
#include "supervisor/core/slots_types.h"

namespace everspan::supervisor {

[[nodiscard]] std::string write_state(const State& state);
// Codes: bad_state.
[[nodiscard]] Result<State> parse_state(std::string_view text);

class StateFile {
 public:
  explicit StateFile(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] Result<State> load() const;  // No file yet: an empty State.
  [[nodiscard]] Result<void> save(const State& state) const;

 private:
  std::string path_;
};

}  // namespace everspan::supervisor
