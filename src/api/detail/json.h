// Strict reading of request bodies, and the JSON of answers. boost::json stays in the API's .cc
// files.
#pragma once
#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "net/address.h"
#include "store/log.h"

namespace everspan::api {

namespace json = boost::json;

// Reads the members of one object. The first problem is kept; finish() gives it, or that a member
// is not known. Values read after a problem are defaults: nothing is done with them before
// finish().
class BodyReader {
 public:
  explicit BodyReader(const json::object& object) : object_(object) {}

  std::string text(std::string_view name, std::size_t bytes_max);  // Required.
  std::string text_or(std::string_view name, std::size_t bytes_max, std::string_view otherwise);
  std::int64_t number_or(std::string_view name, std::int64_t least, std::int64_t most,
                         std::int64_t otherwise);
  bool flag_or(std::string_view name, bool otherwise);
  std::vector<std::string> texts(std::string_view name, std::size_t count_max,
                                 std::size_t bytes_max);           // Required.
  const json::value* any(std::string_view name);                   // Required.
  std::string base64url(std::string_view name, std::size_t size);  // Required; decoded.
  [[nodiscard]] Result<void> finish();

 private:
  const json::value* member(std::string_view name);
  void problem(std::string_view name, const std::string& what);
  bool check_text(std::string_view name, const json::value& value, std::size_t bytes_max,
                  std::string& out);
  const json::object& object_;
  std::set<std::string, std::less<>> known_;
  std::optional<Error> problem_;
};

// An empty body is an empty object. Codes: bad_json (form, depth, UTF-8, not an object).
[[nodiscard]] Result<json::object> parse_body(std::string_view body);

// {revision, lineage, epoch, stores}
[[nodiscard]] json::object outcome_json(const store::Outcome& outcome);
[[nodiscard]] json::array addresses_json(const std::vector<net::Address>& addresses);
[[nodiscard]] json::array texts_json(const std::vector<std::string>& texts);
// ISO 8601; null for 0: it has not happened.
[[nodiscard]] json::value time_json(WallTime time);

}  // namespace everspan::api
