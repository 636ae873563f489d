// Settings: known keys with type, range and default. A key that is not known is refused, with the
// list; a stored one that this release does not know is kept and not shown.
//
// The known keys are in settings.cc. "site.note.NAME" are free texts for administrators.
#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "site/context.h"

namespace everspan::site {

using SettingContent = std::variant<std::string, std::int64_t, bool>;

struct Setting {
  std::string key;
  SettingContent value;
  Revision revision;        // {0}: never set, `value` is the default.
  std::string description;  // One line for people.
};

// What may be written under `key`. Codes: unknown_setting (lists the known ones), bad_value.
[[nodiscard]] Result<void> check_setting(std::string_view key, const SettingContent& value);
[[nodiscard]] std::vector<std::string> known_settings();

// A tombstone is needed for as long as an end could come back with its grant: an hour to the first
// attach, a day of time to live, seven days cut off from the control plane; and the outcome of the
// request that opened it for a day. Then a day more.
inline constexpr std::chrono::seconds kEndedSessionKeptLeast = std::chrono::hours(24 * 10);

class Settings {
 public:
  explicit Settings(Context& context) : site_(context) {}

  // Code unknown_setting.
  [[nodiscard]] Result<Setting> get(std::string_view key);
  [[nodiscard]] Result<std::vector<Setting>> list();
  // Code conflict with if_match; conflict too when the request id was used for another value.
  [[nodiscard]] net::Task<Result<store::Outcome>> put(std::string key, SettingContent value,
                                                      std::string who, WriteOptions options);

  // Of a known key of that type; the default when it is not set or cannot be read.
  [[nodiscard]] std::string text(std::string_view key);
  [[nodiscard]] std::int64_t number(std::string_view key);

  // This node's own: "updates.source". Empty when not set. Checked by the caller.
  [[nodiscard]] Result<std::string> appliance_text(std::string_view name);
  [[nodiscard]] net::Task<Result<store::Outcome>> put_appliance_text(std::string name,
                                                                     std::string value,
                                                                     std::string who,
                                                                     WriteOptions options);

 private:
  Context& site_;
};

}  // namespace everspan::site
