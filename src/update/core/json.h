// Strict JSON for signed metadata and manifests, and its canonical form.
//
// Stricter than RFC 8259, because two readers must never see two documents in the same bytes:
// duplicate keys, fractions, exponents, numbers beyond 64 bits, invalid UTF-8, lone surrogates and
// bytes after the value are refused, and size and depth are capped. Pure; no exceptions leave.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/result.h"

namespace everspan::update {

struct Json {
  using Array = std::vector<Json>;
  using Object = std::map<std::string, Json>;  // By byte, which is the canonical order.
  std::variant<std::nullptr_t, bool, std::int64_t, std::string, Array, Object> value = nullptr;

  Json() = default;
  Json(bool b) : value(b) {}                           // NOLINT(google-explicit-constructor)
  Json(std::int64_t n) : value(n) {}                   // NOLINT(google-explicit-constructor)
  Json(std::string s) : value(std::move(s)) {}         // NOLINT(google-explicit-constructor)
  Json(std::string_view s) : value(std::string(s)) {}  // NOLINT(google-explicit-constructor)
  Json(const char* s) : value(std::string(s)) {}       // NOLINT(google-explicit-constructor)
  Json(Array a) : value(std::move(a)) {}               // NOLINT(google-explicit-constructor)
  Json(Object o) : value(std::move(o)) {}              // NOLINT(google-explicit-constructor)
  bool operator==(const Json&) const = default;

  [[nodiscard]] const Object* object() const { return std::get_if<Object>(&value); }
  [[nodiscard]] const Array* array() const { return std::get_if<Array>(&value); }
  [[nodiscard]] const std::string* text() const { return std::get_if<std::string>(&value); }
  [[nodiscard]] const std::int64_t* number() const { return std::get_if<std::int64_t>(&value); }
  [[nodiscard]] const bool* boolean() const { return std::get_if<bool>(&value); }
  // Member of an object; null if this is no object or has no such member.
  [[nodiscard]] const Json* find(std::string_view key) const;
};

struct JsonLimits {
  std::size_t bytes_max = 8U << 20;
  int depth_max = 32;
};

// Codes: bad_json, too_large.
[[nodiscard]] Result<Json> parse_json(std::string_view text, JsonLimits limits = {});
// Compact RFC 8259 text: what is written to files.
[[nodiscard]] std::string to_json_text(const Json& value);
// OLPC canonical JSON: what is signed and hashed. Strings escape only " and \.
[[nodiscard]] std::string canonical_json(const Json& value);

// Members that must be there, with the member's name in the error (code `code`).
[[nodiscard]] Result<std::string> need_text(const Json& object, std::string_view key,
                                            std::string code);
[[nodiscard]] Result<std::int64_t> need_number(const Json& object, std::string_view key,
                                               std::string code);

}  // namespace everspan::update
