// The person in front: how wide, which colours, a question, a password.
#pragma once
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan::cli {

class Terminal {
 public:
  explicit Terminal(bool no_color);

  [[nodiscard]] bool out_is_terminal() const { return out_is_terminal_; }
  [[nodiscard]] std::size_t width() const;  // Columns; 0: standard output is no terminal.

  // The word of a state in its colour; as it is where there are no colours.
  [[nodiscard]] std::string state(std::string_view word) const;
  [[nodiscard]] std::string bold(std::string_view text) const;

  void print(std::string_view text) const;  // Standard output.
  void print_line(std::string_view text) const;
  void note(std::string_view text) const;                  // Standard error, one line.
  void show_changing_line(const std::string& text) const;  // Terminals only; replaces itself.
  void clear_changing_line() const;

  // On the terminal itself, whatever is redirected. Code usage where there is none.
  [[nodiscard]] static Result<std::string> ask(const std::string& question);
  [[nodiscard]] static Result<std::string> ask_password(const std::string& question);

 private:
  bool out_is_terminal_;
  bool colors_;
};

}  // namespace everspan::cli
