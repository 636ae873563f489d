// A request and a response as handlers see them: whole, checked, with no library's types.
#pragma once
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/result.h"
#include "net/address.h"

namespace everspan::http {

struct Request {
  std::string method;                          // "GET": upper case.
  std::string target;                          // As it came: "/api/v1/endpoints/a%20b?state=live".
  std::string path;                            // Decoded: "/api/v1/endpoints/a b".
  std::vector<std::string> segments;           // Of the path, each decoded on its own.
  std::map<std::string, std::string> query;    // Decoded; of a repeated name the last.
  std::map<std::string, std::string> headers;  // Names in lower case; repeated ones joined by ", ".
  std::string body;
  net::Address peer;
  net::Address local;

  // Empty when it is not there.
  [[nodiscard]] std::string header(std::string_view lower_case_name) const;
  [[nodiscard]] std::string query_value(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers;  // More than the server adds itself.
  std::string body;
};

// {"error":{"code","message","kept","next"}}, as all of the API answers (docs/api.md).
[[nodiscard]] Response error_response(int status, const Error& error);
[[nodiscard]] std::string_view reason_phrase(int status);

// "/a%20b/c" -> {"a b", "c"}; an error for "..", empty inner segments, bad escapes, control bytes.
[[nodiscard]] Result<std::vector<std::string>> split_path(std::string_view raw_path);
[[nodiscard]] Result<std::map<std::string, std::string>> split_query(std::string_view raw_query);
[[nodiscard]] Result<std::string> percent_decode(std::string_view text, bool plus_is_space);
[[nodiscard]] std::string percent_encode(std::string_view text);

}  // namespace everspan::http
