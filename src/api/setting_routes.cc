// Settings of the site, and this appliance's own.
#include <charconv>

#include "api/detail/route.h"

namespace everspan::api {
namespace {

json::value content_json(const site::SettingContent& content) {
  if (const auto* text = std::get_if<std::string>(&content)) return json::value(*text);
  if (const auto* number = std::get_if<std::int64_t>(&content)) return *number;
  return std::get<bool>(content);
}

Result<site::SettingContent> content_of(const json::value& value) {
  if (value.is_bool()) return value.get_bool();
  if (value.is_string()) {
    const json::string& text = value.get_string();
    if (text.find('\0') != json::string::npos)
      return fail("bad_value", "A setting must not contain a zero byte");
    return std::string(text.data(), text.size());
  }
  boost::system::error_code error;
  const auto number = value.to_number<std::int64_t>(error);
  if (error || value.is_double())
    return fail("bad_value", "A setting's value is a text, a whole number, true or false",
                "Nothing was changed");
  return number;
}

// People type settings on a command line: "900" is taken for a number where the setting is one.
Result<void> to_setting_type(State& state, const std::string& key, site::SettingContent& content) {
  const auto setting = state.settings.get(key);
  if (!setting) return fail(setting);
  const auto* text = std::get_if<std::string>(&content);
  if (text == nullptr || !std::holds_alternative<std::int64_t>(setting->value)) return {};
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error == std::errc() && end == text->data() + text->size()) content = number;
  return {};
}

json::object setting_json(const site::Setting& setting) {
  return {{"key", setting.key},
          {"value", content_json(setting.value)},
          {"revision", setting.revision.value},
          {"description", setting.description}};
}

net::Task<Result<Answer>> list(State& state, Call) {
  const auto settings = state.settings.list();
  if (!settings) co_return fail(settings);
  json::array rows;
  for (const site::Setting& setting : *settings) rows.push_back(setting_json(setting));
  Answer answer;
  answer.body = {{"settings", std::move(rows)}};
  co_return answer;
}

net::Task<Result<Answer>> get(State& state, Call call) {
  const auto setting = state.settings.get(call.value("key"));
  if (!setting) co_return fail(setting);
  Answer answer;
  answer.body = setting_json(*setting);
  answer.etag = setting->revision;
  co_return answer;
}

net::Task<Result<Answer>> put(State& state, Call call) {
  BodyReader body(call.body);
  const json::value* value = body.any("value");
  if (auto good = body.finish(); !good) co_return fail(good);
  auto content = content_of(*value);
  if (!content) co_return fail(content);
  const std::string key = call.value("key");
  if (auto typed = to_setting_type(state, key, *content); !typed) co_return fail(typed);
  const json::value shown = content_json(*content);
  const auto outcome =
      co_await state.settings.put(key, std::move(*content), call.person, call.write());
  if (!outcome) co_return fail(outcome);
  Answer answer = write_answer(*outcome);
  answer.body["key"] = key;
  answer.body["value"] = shown;
  answer.subject = key;
  answer.detail = {{"value", shown}, {"revision", outcome->revision.value}};
  co_return answer;
}

constexpr const char* kSource = "updates.source";

Result<void> check_source(const std::string& url) {
  const bool scheme = url.starts_with("https://") || url.starts_with("http://");
  bool plain = true;
  for (const char c : url) plain = plain && c > ' ' && c < 0x7f;
  if (scheme && plain && url.find('@') == std::string::npos) return {};
  return fail("bad_value", "The source is the https:// (or http://) address of a depot",
              "Nothing was changed");
}

// The stored text: the address, then, on the lines below, the authorities to trust for it (PEM).
Result<std::string> authorities_of(const json::value& value) {
  constexpr std::size_t kPemBytesMax = 16 * 1024;
  if (!value.is_string() || value.get_string().size() > kPemBytesMax ||
      !std::string_view(value.get_string()).starts_with("-----BEGIN CERTIFICATE-----"))
    return fail("bad_value", "ca_pem is one or more certificates in PEM form, 16 KiB at most",
                "Nothing was changed");
  return std::string(value.get_string());
}

net::Task<Result<Answer>> get_source(State& state, Call) {
  const auto stored = state.settings.appliance_text(kSource);
  if (!stored) co_return fail(stored);
  Answer answer;
  const std::size_t line = stored->find('\n');
  answer.body = {{"url", stored->substr(0, line)}, {"own_ca", line != std::string::npos}};
  co_return answer;
}

net::Task<Result<Answer>> put_source(State& state, Call call) {
  BodyReader body(call.body);
  const std::string url = body.text("url", 1000);
  std::string stored = url;
  if (call.body.contains("ca_pem")) {
    const auto pem = authorities_of(*body.any("ca_pem"));
    if (!pem) co_return fail(pem);
    stored += "\n" + *pem;
  }
  if (auto good = body.finish(); !good) co_return fail(good);
  if (auto good = check_source(url); !good) co_return fail(good);
  const auto outcome =
      co_await state.settings.put_appliance_text(kSource, stored, call.person, call.write());
  if (!outcome) co_return fail(outcome);
  Answer answer = write_answer(*outcome);
  answer.body["url"] = url;
  answer.subject = kSource;
  answer.detail = {{"url", url}};
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/settings", Needs::site, "settings", list},
    {"GET", "/api/v1/settings/{key}", Needs::site, "settings", get},
    {"PUT", "/api/v1/settings/{key}", Needs::site, "settings", put, "setting.put", false},
    {"GET", "/api/v1/appliance/updates/source", Needs::appliance, "updates", get_source},
    {"PUT", "/api/v1/appliance/updates/source", Needs::appliance, "updates", put_source,
     "updates.source_set"},
};

}  // namespace

std::span<const Route> setting_routes() {
  return kRoutes;
}

}  // namespace everspan::api
