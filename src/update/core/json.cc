#include "update/core/json.h"

#include <algorithm>
#include <limits>

namespace everspan::update {
namespace {

// Length of the valid UTF-8 sequence at `at` (RFC 3629: no overlong forms, no surrogates); 0: none.
std::size_t utf8_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t b) { out.push_back(static_cast<char>(b)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

class Parser {
 public:
  Parser(std::string_view text, JsonLimits limits) : text_(text), limits_(limits) {}

  Result<Json> document() {
    auto value = parse_value(0);
    if (!value) return value;
    skip_space();
    if (at_ != text_.size()) return bad("bytes after the end");
    return value;
  }

 private:
  [[nodiscard]] std::unexpected<Error> bad(const std::string& what) const {
    return fail("bad_json", "Malformed JSON at byte " + std::to_string(at_) + ": " + what);
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_])) ++at_;
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Result<Json> parse_value(int depth) {
    if (depth > limits_.depth_max) return bad("nested too deep");
    skip_space();
    if (at_ >= text_.size()) return bad("it ends early");
    switch (text_[at_]) {
      case '{':
        return parse_object(depth);
      case '[':
        return parse_array(depth);
      case '"': {
        auto text = parse_text();
        if (!text) return fail(text);
        return Json(std::move(*text));
      }
      case 't':
        if (take_word("true")) return Json(true);
        break;
      case 'f':
        if (take_word("false")) return Json(false);
        break;
      case 'n':
        if (take_word("null")) return Json();
        break;
      default:
        return parse_number();
    }
    return bad("unknown word");
  }

  Result<Json> parse_object(int depth) {
    ++at_;
    Json::Object object;
    skip_space();
    if (take('}')) return Json(std::move(object));
    for (;;) {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') return bad("a name is missing");
      auto name = parse_text();
      if (!name) return fail(name);
      skip_space();
      if (!take(':')) return bad("':' is missing");
      auto value = parse_value(depth + 1);
      if (!value) return value;
      if (!object.emplace(std::move(*name), std::move(*value)).second)
        return bad("a name stands twice");
      skip_space();
      if (take('}')) return Json(std::move(object));
      if (!take(',')) return bad("',' is missing");
    }
  }

  Result<Json> parse_array(int depth) {
    ++at_;
    Json::Array array;
    skip_space();
    if (take(']')) return Json(std::move(array));
    for (;;) {
      auto value = parse_value(depth + 1);
      if (!value) return value;
      array.push_back(std::move(*value));
      skip_space();
      if (take(']')) return Json(std::move(array));
      if (!take(',')) return bad("',' is missing");
    }
  }

  Result<Json> parse_number() {
    const bool negative = take('-');
    const std::size_t first = at_;
    std::uint64_t magnitude = 0;
    const std::uint64_t most =
        static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) + (negative ? 1 : 0);
    while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      const auto digit = static_cast<std::uint64_t>(text_[at_] - '0');
      if (magnitude > (most - digit) / 10) return bad("the number is too large");
      magnitude = magnitude * 10 + digit;
      ++at_;
    }
    if (at_ == first) return bad("unknown character");
    if (text_[first] == '0' && at_ - first > 1) return bad("a number begins with 0");
    if (at_ < text_.size() && std::string_view(".eE").contains(text_[at_]))
      return bad("only whole numbers are allowed");
    if (negative && magnitude == 0) return bad("minus zero");
    return Json(static_cast<std::int64_t>(negative ? 0 - magnitude : magnitude));
  }

  Result<std::string> parse_text() {
    ++at_;
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) return bad("a control character in a string");
      if (c == '\\') {
        auto done = parse_escape(out);
        if (!done) return fail(done);
        continue;
      }
      const std::size_t length = utf8_length(text_, at_);
      if (length == 0) return bad("not UTF-8");
      out.append(text_.substr(at_, length));
      at_ += length;
    }
    return bad("a string does not end");
  }

  Result<void> parse_escape(std::string& out) {
    ++at_;
    if (at_ >= text_.size()) return bad("a string does not end");
    static constexpr std::string_view kFrom = "\"\\/bfnrt";
    static constexpr std::string_view kTo = "\"\\/\b\f\n\r\t";
    const char c = text_[at_++];
    if (const auto i = kFrom.find(c); i != std::string_view::npos) {
      out.push_back(kTo[i]);
      return {};
    }
    if (c != 'u') return bad("unknown escape");
    std::uint32_t code = 0;
    if (!take_hex4(code)) return bad("a bad \\u");
    if (code >= 0xDC00 && code <= 0xDFFF) return bad("a lone surrogate");
    if (code >= 0xD800 && code <= 0xDBFF) {
      std::uint32_t low = 0;
      if (!take_word("\\u") || !take_hex4(low) || low < 0xDC00 || low > 0xDFFF)
        return bad("a lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
    return {};
  }

  bool take_hex4(std::uint32_t& code) {
    if (text_.size() - at_ < 4) return false;
    code = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = text_[at_++];
      std::uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<std::uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        digit = static_cast<std::uint32_t>(c - 'a') + 10;
      } else if (c >= 'A' && c <= 'F') {
        digit = static_cast<std::uint32_t>(c - 'A') + 10;
      } else {
        return false;
      }
      code = code << 4 | digit;
    }
    return true;
  }

  std::string_view text_;
  JsonLimits limits_;
  std::size_t at_ = 0;
};

void append_file_text(std::string& out, std::string_view text) {
  static constexpr std::string_view kHex = "0123456789abcdef";
  out.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

void append_canonical_text(std::string& out, std::string_view text) {
  out.push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  out.push_back('"');
}

void append(std::string& out, const Json& json, void (*text)(std::string&, std::string_view)) {
  if (json.object() != nullptr) {
    out.push_back('{');
    bool first = true;
    for (const auto& [name, value] : *json.object()) {
      if (!first) out.push_back(',');
      first = false;
      text(out, name);
      out.push_back(':');
      append(out, value, text);
    }
    out.push_back('}');
  } else if (json.array() != nullptr) {
    out.push_back('[');
    bool first = true;
    for (const Json& value : *json.array()) {
      if (!first) out.push_back(',');
      first = false;
      append(out, value, text);
    }
    out.push_back(']');
  } else if (json.text() != nullptr) {
    text(out, *json.text());
  } else if (json.number() != nullptr) {
    out += std::to_string(*json.number());
  } else if (json.boolean() != nullptr) {
    out += *json.boolean() ? "true" : "false";
  } else {
    out += "null";
  }
}

}  // namespace

const Json* Json::find(std::string_view key) const {
  const Object* members = object();
  if (members == nullptr) return nullptr;
  const auto at = members->find(std::string(key));
  return at == members->end() ? nullptr : &at->second;
}

Result<Json> parse_json(std::string_view text, JsonLimits limits) {
  if (text.size() > limits.bytes_max)
    return fail("too_large", "The JSON document is longer than allowed");
  return Parser(text, limits).document();
}

std::string to_json_text(const Json& value) {
  std::string out;
  append(out, value, append_file_text);
  return out;
}

std::string canonical_json(const Json& value) {
  std::string out;
  append(out, value, append_canonical_text);
  return out;
}

Result<std::string> need_text(const Json& object, std::string_view key, std::string code) {
  const Json* member = object.find(key);
  if (member == nullptr || member->text() == nullptr)
    return fail(std::move(code), "'" + std::string(key) + "' is missing or no text");
  return *member->text();
}

Result<std::int64_t> need_number(const Json& object, std::string_view key, std::string code) {
  const Json* member = object.find(key);
  if (member == nullptr || member->number() == nullptr)
    return fail(std::move(code), "'" + std::string(key) + "' is missing or no number");
  return *member->number();
}

}  // namespace everspan::update
