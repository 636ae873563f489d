#include "api/detail/json.h"

#include "common/bytes.h"

namespace everspan::api {
namespace {
constexpr std::size_t kDepthMax = 8;
}

Result<json::object> parse_body(std::string_view body) {
  if (body.empty()) return json::object();
  json::parse_options options;
  options.max_depth = kDepthMax;
  boost::system::error_code error;
  json::value value = json::parse(json::string_view(body.data(), body.size()), error, {}, options);
  if (error)
    return fail("bad_json", "The body is not JSON: " + error.message(), "Nothing was changed");
  if (!value.is_object())
    return fail("bad_json", "The body must be a JSON object", "Nothing was changed");
  return std::move(value.get_object());
}

const json::value* BodyReader::member(std::string_view name) {
  known_.emplace(name);
  return object_.if_contains(json::string_view(name.data(), name.size()));
}

void BodyReader::problem(std::string_view name, const std::string& what) {
  if (!problem_)
    problem_ = Error{"bad_request", "\"" + std::string(name) + "\" " + what, "Nothing was changed",
                     "See /api/v1/openapi.json"};
}

bool BodyReader::check_text(std::string_view name, const json::value& value, std::size_t bytes_max,
                            std::string& out) {
  if (!value.is_string()) {
    problem(name, "must be a text");
    return false;
  }
  const json::string& text = value.get_string();
  if (text.size() > bytes_max) {
    problem(name, "has at most " + std::to_string(bytes_max) + " bytes");
    return false;
  }
  if (text.find('\0') != json::string::npos) {
    problem(name, "must not contain a zero byte");
    return false;
  }
  out.assign(text.data(), text.size());
  return true;
}

std::string BodyReader::text(std::string_view name, std::size_t bytes_max) {
  std::string out;
  const json::value* value = member(name);
  if (value == nullptr)
    problem(name, "is missing");
  else
    check_text(name, *value, bytes_max, out);
  return out;
}

std::string BodyReader::text_or(std::string_view name, std::size_t bytes_max,
                                std::string_view otherwise) {
  std::string out(otherwise);
  const json::value* value = member(name);
  if (value != nullptr && !value->is_null()) check_text(name, *value, bytes_max, out);
  return out;
}

std::int64_t BodyReader::number_or(std::string_view name, std::int64_t least, std::int64_t most,
                                   std::int64_t otherwise) {
  const json::value* value = member(name);
  if (value == nullptr || value->is_null()) return otherwise;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  if (error || value->is_double() || number < least || number > most) {
    problem(name,
            "must be a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return otherwise;
  }
  return number;
}

bool BodyReader::flag_or(std::string_view name, bool otherwise) {
  const json::value* value = member(name);
  if (value == nullptr || value->is_null()) return otherwise;
  if (!value->is_bool()) {
    problem(name, "must be true or false");
    return otherwise;
  }
  return value->get_bool();
}

std::vector<std::string> BodyReader::texts(std::string_view name, std::size_t count_max,
                                           std::size_t bytes_max) {
  std::vector<std::string> out;
  const json::value* value = member(name);
  if (value == nullptr) {
    problem(name, "is missing");
    return out;
  }
  if (!value->is_array() || value->get_array().size() > count_max) {
    problem(name, "must be a list of at most " + std::to_string(count_max) + " texts");
    return out;
  }
  for (const json::value& each : value->get_array()) {
    std::string text;
    if (!check_text(name, each, bytes_max, text)) return {};
    out.push_back(std::move(text));
  }
  return out;
}

const json::value* BodyReader::any(std::string_view name) {
  const json::value* value = member(name);
  if (value == nullptr) problem(name, "is missing");
  return value;
}

std::string BodyReader::base64url(std::string_view name, std::size_t size) {
  const std::string encoded = text(name, size * 2 + 4);
  if (problem_) return {};
  auto raw = from_base64url(encoded);
  if (raw && raw->size() == size) return *raw;
  problem(name, "must be " + std::to_string(size) + " bytes in base64url");
  return {};
}

Result<void> BodyReader::finish() {
  if (!problem_) {
    for (const auto& each : object_) {
      const std::string_view key(each.key().data(), each.key().size());
      if (!known_.contains(key)) problem(printable(key, 60), "is not known here");
    }
  }
  if (problem_) return std::unexpected(*problem_);
  return {};
}

json::object outcome_json(const store::Outcome& outcome) {
  json::array stores;
  for (const NodeId& node : outcome.stores) stores.emplace_back(node.hex());
  return {{"revision", outcome.revision.value},
          {"lineage", outcome.lineage.hex()},
          {"epoch", outcome.epoch.value},
          {"stores", std::move(stores)}};
}

json::array addresses_json(const std::vector<net::Address>& addresses) {
  json::array out;
  for (const net::Address& each : addresses)
    out.push_back(json::object{{"host", each.host}, {"port", each.port}});
  return out;
}

json::array texts_json(const std::vector<std::string>& texts) {
  json::array out;
  for (const std::string& text : texts) out.emplace_back(text);
  return out;
}

json::value time_json(WallTime time) {
  if (time.unix_ms == 0) return nullptr;
  return json::value(to_iso8601(time));
}

}  // namespace everspan::api
