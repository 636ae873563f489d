#include "site/settings.h"

#include <algorithm>
#include <array>

#include "access/core/grant.h"
#include "proto/records.pb.h"
#include "site/records.h"

namespace everspan::site {
namespace {

struct Known {
  std::string_view key;
  std::string_view description;
  std::string_view text_default;            // Of texts.
  std::array<std::string_view, 3> words{};  // Of texts: the only ones, if given.
  // The last word is newer than release 0.1.0, which takes this one for it.
  std::string_view older_word;
  std::int64_t number_default = 0;  // Of numbers.
  std::int64_t least = 0;
  std::int64_t most = -1;        // Below `least`: a text.
  std::size_t bytes_max = 2000;  // Of texts.

  [[nodiscard]] bool is_number() const { return most >= least; }
  [[nodiscard]] bool has_word(std::string_view text) const {
    return !text.empty() && std::ranges::find(words, text) != words.end();
  }
  [[nodiscard]] std::string word_list() const {
    std::string list;
    for (const std::string_view word : words) {
      if (!list.empty()) list += word == words.back() ? " or " : ", ";
      list += "\"" + std::string(word) + "\"";
    }
    return list;
  }
  [[nodiscard]] SettingContent default_value() const {
    if (is_number()) return number_default;
    return std::string(text_default);
  }
};

constexpr std::string_view kNotePrefix = "site.note.";
constexpr std::size_t kNotesMax = 1000;

constexpr std::array kKnown{
    Known{.key = "login.ttl_s",
          .description = "How long a log-in lasts, in seconds",
          .number_default = 43'200,
          .least = 300,
          .most = 2'592'000},
    Known{.key = "session.grant_ttl_s",
          .description = "How long a new session may take to its first attach, in seconds",
          .number_default = 300,
          .least = 30,
          .most = 3'600},
    Known{.key = "session.keep_ended_s",
          .description = "How long an ended session stays in lists, in seconds; its recording and "
                         "the journal stay",
          .number_default = 7'776'000,
          .least = kEndedSessionKeptLeast.count(),
          .most = 315'360'000},
    Known{.key = "session.max_offline_s",
          .description = "An end that is cut off from the site goes on for so long, in seconds, "
                         "or for session.ttl_s where that is less",
          .number_default = 3'600,
          .least = 0,
          .most = 604'800},
    Known{.key = "session.recording",
          .description =
              "What is kept of sessions: strict (every byte), metadata (lengths and hashes) or "
              "off (byte counts)",
          .text_default = access::kRecordingStrict,
          .words = {access::kRecordingStrict, access::kRecordingMetadata, access::kRecordingOff},
          .older_word = access::kRecordingMetadata},
    Known{.key = "session.ttl_s",
          .description = "A session without any end attached for longer has ended, in seconds",
          .number_default = 900,
          .least = access::kSessionTtlSecondsMin,
          .most = access::kSessionTtlSecondsMax},
    Known{.key = "site.banner",
          .description = "Shown to people at their consoles (from feature level 2 on)"},
};
constexpr Known kNote{.key = kNotePrefix, .description = "A note for administrators"};

const Known* find_known(std::string_view key) {
  const auto* found = std::ranges::find(kKnown, key, &Known::key);
  if (found != kKnown.end()) return found;
  if (key.starts_with(kNotePrefix) &&
      access::check_name("note", key.substr(kNotePrefix.size())).has_value())
    return &kNote;
  return nullptr;
}

std::unexpected<Error> unknown(std::string_view key) {
  std::string list;
  for (const std::string& each : known_settings()) list += (list.empty() ? "" : ", ") + each;
  return fail("unknown_setting", "There is no setting \"" + printable(key, 80) + "\"",
              "Nothing was changed", "Known settings: " + list);
}

std::unexpected<Error> bad_value(std::string_view key, const std::string& wanted) {
  return fail("bad_value", std::string(key) + " takes " + wanted, "Nothing was changed");
}

std::string older_word_for(const Known& known, const SettingContent& value) {
  const auto* text = std::get_if<std::string>(&value);
  const bool newer = text != nullptr && !known.older_word.empty() && *text == known.words.back();
  return newer ? std::string(known.older_word) : std::string();
}

SettingContent content_of(const pb::SettingValue& stored, const Known& known) {
  switch (stored.value_case()) {
    case pb::SettingValue::kText:
      // Unless an older release has written another word since.
      if (known.has_word(stored.newer_text()) && stored.text() == known.older_word)
        return stored.newer_text();
      return stored.text();
    case pb::SettingValue::kNumber:
      return std::int64_t{stored.number()};
    case pb::SettingValue::kFlag:
      return stored.flag();
    case pb::SettingValue::VALUE_NOT_SET:
      break;
  }
  return known.default_value();
}

Result<Setting> setting_of(std::string key, const Known& known, const store::Record* record) {
  Setting setting{.key = std::move(key),
                  .value = known.default_value(),
                  .revision = {},
                  .description = std::string(known.description)};
  if (record == nullptr) return setting;
  const auto stored = parse_record<pb::SettingValue>(kKindSetting, record->bytes);
  if (!stored) return fail(stored);
  setting.value = content_of(*stored, known);
  setting.revision = record->revision;
  return setting;
}

void set_content(pb::SettingValue& record, const SettingContent& value,
                 const std::string& older_word) {
  record.clear_newer_text();
  if (const auto* text = std::get_if<std::string>(&value)) {
    record.set_text(older_word.empty() ? *text : older_word);
    if (!older_word.empty()) record.set_newer_text(*text);
  }
  if (const auto* number = std::get_if<std::int64_t>(&value)) record.set_number(*number);
  if (const auto* flag = std::get_if<bool>(&value)) record.set_flag(*flag);
}

// `older_word`: set when the value is a word that older releases do not know.
store::Edit edit_value(SettingContent value, std::string older_word, std::string who,
                       WallTime now) {
  return store::edit_message<pb::SettingValue>(
      [value = std::move(value), older_word = std::move(older_word), who = std::move(who),
       now](pb::SettingValue& record) {
        set_content(record, value, older_word);
        record.set_changed_by(who);
        record.set_changed_at_ms(now.unix_ms);
      });
}

}  // namespace

std::vector<std::string> known_settings() {
  std::vector<std::string> keys;
  for (const Known& known : kKnown) keys.emplace_back(known.key);
  keys.push_back(std::string(kNotePrefix) + "NAME");
  return keys;
}

Result<void> check_setting(std::string_view key, const SettingContent& value) {
  const Known* known = find_known(key);
  if (known == nullptr) return unknown(key);
  if (known->is_number()) {
    const auto* number = std::get_if<std::int64_t>(&value);
    if (number == nullptr || *number < known->least || *number > known->most)
      return bad_value(key, "a whole number from " + std::to_string(known->least) + " to " +
                                std::to_string(known->most));
    return {};
  }
  const auto* text = std::get_if<std::string>(&value);
  if (!known->words[0].empty()) {
    if (text == nullptr || !known->has_word(*text)) return bad_value(key, known->word_list());
    return {};
  }
  if (text == nullptr || text->size() > known->bytes_max)
    return bad_value(key, "a text of at most " + std::to_string(known->bytes_max) + " bytes");
  return {};
}

Result<Setting> Settings::get(std::string_view key) {
  const Known* known = find_known(key);
  if (known == nullptr) return unknown(key);
  const auto record = site_.log.get(kKindSetting, key);
  if (!record) return fail(record);
  return setting_of(std::string(key), *known, *record ? &**record : nullptr);
}

Result<std::vector<Setting>> Settings::list() {
  const auto records = site_.log.list(kKindSetting);
  if (!records) return fail(records);
  std::vector<Setting> all;
  for (const Known& known : kKnown) {
    const auto record = std::ranges::find(*records, known.key, &store::Record::key);
    auto setting =
        setting_of(std::string(known.key), known, record == records->end() ? nullptr : &*record);
    if (!setting) return fail(setting);
    all.push_back(std::move(*setting));
  }
  for (const store::Record& record : *records) {
    if (find_known(record.key) != &kNote) continue;
    auto setting = setting_of(record.key, kNote, &record);
    if (!setting) return fail(setting);
    all.push_back(std::move(*setting));
  }
  return all;
}

net::Task<Result<store::Outcome>> Settings::put(std::string key, SettingContent value,
                                                std::string who, WriteOptions options) {
  if (auto good = check_setting(key, value); !good) co_return fail(good);
  if (find_known(key) == &kNote) {
    const auto there = site_.log.get(kKindSetting, key);
    if (!there) co_return fail(there);
    if (!*there) {
      const auto notes = site_.log.list(kKindSetting, kNotePrefix);
      if (!notes) co_return fail(notes);
      if (notes->size() >= kNotesMax)
        co_return fail("too_large", "There are 1000 notes already", "Nothing was changed");
    }
  }
  const WallTime now = site_.now();
  const std::string older = older_word_for(*find_known(key), value);
  auto outcome =
      co_await update_record(site_.log, site_.writer, std::string(kKindSetting), key,
                             edit_value(value, older, std::move(who), now), false, options);
  if (!outcome || !outcome->repeated) co_return outcome;
  // The key of the request was used before: for this very change, or for another one?
  const auto first = site_.log.entries(Revision{outcome->revision.value - 1}, 1);
  if (!first || first->entries.empty()) co_return outcome;  // Compacted: nothing to compare with.
  for (const store::Operation& operation : first->entries.front().operations) {
    if (operation.kind != kKindSetting || operation.key != key) continue;
    const auto written = parse_record<pb::SettingValue>(kKindSetting, operation.bytes);
    if (written && content_of(*written, *find_known(key)) == value) co_return outcome;
  }
  co_return fail("conflict", "This Idempotency-Key was used for another request",
                 "Nothing was changed", "Use a new key for a new request");
}

std::string Settings::text(std::string_view key) {
  const auto setting = get(key);
  if (setting)
    if (const auto* value = std::get_if<std::string>(&setting->value)) return *value;
  const Known* known = find_known(key);
  return known == nullptr ? std::string() : std::string(known->text_default);
}

std::int64_t Settings::number(std::string_view key) {
  const auto setting = get(key);
  if (setting)
    if (const auto* value = std::get_if<std::int64_t>(&setting->value)) return *value;
  const Known* known = find_known(key);
  return known == nullptr ? 0 : known->number_default;
}

Result<std::string> Settings::appliance_text(std::string_view name) {
  const auto record = site_.log.get(kKindSetting, appliance_setting_key(site_.node, name));
  if (!record) return fail(record);
  if (!*record) return std::string();
  const auto stored = parse_record<pb::SettingValue>(kKindSetting, (*record)->bytes);
  if (!stored) return fail(stored);
  return stored->text();
}

net::Task<Result<store::Outcome>> Settings::put_appliance_text(std::string name, std::string value,
                                                               std::string who,
                                                               WriteOptions options) {
  const std::string no_older;
  auto outcome = co_await update_record(
      site_.log, site_.writer, std::string(kKindSetting), appliance_setting_key(site_.node, name),
      edit_value(std::move(value), no_older, std::move(who), site_.now()), false, options);
  co_return outcome;
}

}  // namespace everspan::site
