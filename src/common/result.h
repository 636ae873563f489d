// Result<T>: a value or an Error that cannot be dropped unseen (STYLE T8, practice 23).
//
// An Error is written for the person who meets it: what happened, what was kept, what to do next.
// `code` is a stable snake_case word that scripts and the API pass on ("not_primary", "bad_token").
#pragma once
#include <expected>
#include <string>
#include <utility>

namespace everspan {

struct Error {
  std::string code;     // Stable word, snake_case.
  std::string message;  // What happened, one sentence.
  std::string kept;     // What was not lost; may be empty.
  std::string next;     // What to do now; may be empty.

  // "message (kept) next": one line for logs and terminals.
  [[nodiscard]] std::string text() const;
};

template <class T = void>
class [[nodiscard]] Result : public std::expected<T, Error> {
  using Base = std::expected<T, Error>;

 public:
  using Base::Base;
  Result(Base base) : Base(std::move(base)) {}  // NOLINT(google-explicit-constructor)
};

// return fail("bad_token", "This enrolment token has expired", "", "Make a new one");
[[nodiscard]] inline std::unexpected<Error> fail(std::string code, std::string message,
                                                 std::string kept = {}, std::string next = {}) {
  return std::unexpected(
      Error{std::move(code), std::move(message), std::move(kept), std::move(next)});
}
// Passes an inner error on: `if (!r) return fail(r);`
template <class T>
[[nodiscard]] std::unexpected<Error> fail(const Result<T>& failed) {
  return std::unexpected(failed.error());
}
// "<what>: <strerror(errno_value)>" under `code`.
[[nodiscard]] std::unexpected<Error> fail_errno(std::string code, std::string what,
                                                int errno_value);

}  // namespace everspan
