// Finds the escapes that a person types at the start of a line: `~.` ends, `~?` explains, `~~` is
// one `~`. Pure.
#pragma once
#include <cstdint>
#include <string>

namespace everspan::console {

class EscapeFilter {
 public:
  explicit EscapeFilter(char escape) : escape_(escape) {}
  enum class Wish : std::uint8_t { none, quit, help };
  // Takes the escapes out of `bytes`. After `quit` nothing of `bytes` behind it is left.
  [[nodiscard]] Wish filter(std::string& bytes);

 private:
  char escape_;
  bool line_start_ = true;
  bool held_ = false;  // An escape was typed; the next byte decides.
};

}  // namespace everspan::console
