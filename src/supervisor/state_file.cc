#include "supervisor/state_file.h"

#include <map>

#include "common/bytes.h"
#include "common/crypto.h"
#include "supervisor/detail/files.h"
#include "update/core/json.h"

namespace everspan::supervisor {
namespace {

using update::Json;
constexpr std::string_view kFormat = "everspan.base-state/1";
constexpr std::size_t kStateBytesMax = 4U << 20;  // 1,000 effects of 2 KiB are half of it.
constexpr std::size_t kTextBytesMax = 1000;       // A message in the table is for people.

std::int64_t number(std::uint64_t n) {
  return static_cast<std::int64_t>(n);
}
std::string text(const std::string& s) {
  return printable(s, kTextBytesMax);
}

Json to_json(const Slot& slot) {
  Json::Object o{{"role", to_string(slot.role)},
                 {"digest", slot.digest},
                 {"instance", number(slot.instance)},
                 {"ready", slot.ready}};
  if (slot.process)
    o["process"] = Json::Object{{"pid", number(slot.process->pid)},
                                {"start_ticks", number(slot.process->start_ticks)},
                                {"boot_id", slot.process->boot_id},
                                {"token", to_base64url(as_bytes(slot.process->token))}};
  return o;
}
Json to_json(const Effect& e) {
  return Json::Object{{"key", to_base64url(as_bytes(e.key))}, {"kind", to_string(e.kind)},
                      {"pending", e.outcome.pending},         {"ok", e.outcome.ok},
                      {"code", text(e.outcome.code)},         {"message", text(e.outcome.message)},
                      {"next", text(e.outcome.next)},         {"digest", text(e.outcome.digest)}};
}

// Reads members of one object; the first that is missing or of another type is kept as the error.
class Reader {
 public:
  explicit Reader(const Json& json) : json_(json) {}
  std::string text(const char* key) {
    const auto* at = json_.find(key);
    if (at != nullptr && at->text() != nullptr) return *at->text();
    return miss(key), std::string{};
  }
  std::uint64_t number(const char* key) {
    const auto* at = json_.find(key);
    if (at != nullptr && at->number() != nullptr && *at->number() >= 0)
      return static_cast<std::uint64_t>(*at->number());
    return miss(key), 0;
  }
  bool boolean(const char* key) {
    const auto* at = json_.find(key);
    if (at != nullptr && at->boolean() != nullptr) return *at->boolean();
    return miss(key), false;
  }
  std::string binary(const char* key) {
    const auto raw = from_base64url(text(key));
    if (raw) return *raw;
    return miss(key), std::string{};
  }
  const Json::Array& array(const char* key) {
    static const Json::Array none;
    const auto* at = json_.find(key);
    if (at != nullptr && at->array() != nullptr) return *at->array();
    return miss(key), none;
  }
  template <class Enum>
  Enum word(const char* key, std::initializer_list<Enum> all) {
    const auto word = text(key);
    for (const auto each : all)
      if (to_string(each) == word) return each;
    return miss(key), *all.begin();
  }
  void miss(const char* key) {
    if (missing_.empty()) missing_ = key;
  }
  [[nodiscard]] const std::string& missing() const { return missing_; }

 private:
  const Json& json_;
  std::string missing_;
};

std::unexpected<Error> bad(const std::string& what) {
  return fail("bad_state", "Base's state file is damaged: " + what, "The site's data is untouched",
              "Stop the site, move DIR/base/state away and start base again: it starts the "
              "release that --initial-release names");
}

Result<Slot> parse_slot(const Json& json) {
  Reader in(json);
  Slot slot{.role = in.word<Role>("role",
                                  {Role::active, Role::candidate, Role::fallback, Role::retiring}),
            .digest = in.text("digest"),
            .instance = in.number("instance"),
            .ready = in.boolean("ready"),
            .process = {}};
  if (const auto* process = json.find("process")) {
    Reader p(*process);
    slot.process = ProcessRecord{.pid = static_cast<std::uint32_t>(p.number("pid")),
                                 .start_ticks = p.number("start_ticks"),
                                 .boot_id = p.text("boot_id"),
                                 .token = p.binary("token")};
    if (!p.missing().empty()) return bad("process " + p.missing());
  }
  if (!in.missing().empty()) return bad("slot " + in.missing());
  return slot;
}

Result<Effect> parse_effect(const Json& json) {
  Reader in(json);
  Effect e{.key = in.binary("key"),
           .kind = in.word<EffectKind>(
               "kind", {EffectKind::stage, EffectKind::self_test, EffectKind::start_candidate,
                        EffectKind::stop_candidate, EffectKind::switch_over, EffectKind::good,
                        EffectKind::back}),
           .outcome = Outcome{.pending = in.boolean("pending"),
                              .ok = in.boolean("ok"),
                              .code = in.text("code"),
                              .message = in.text("message"),
                              .next = in.text("next"),
                              .digest = in.text("digest")}};
  if (!in.missing().empty()) return bad("effect " + in.missing());
  return e;
}

}  // namespace

std::string write_state(const State& state) {
  Json::Array slots;
  for (const auto& slot : state.slots) slots.push_back(to_json(slot));
  Json::Array effects;
  for (const auto& e : state.effects) effects.push_back(to_json(e));
  const Json json = Json::Object{{"format", kFormat},
                                 {"generation", number(state.generation)},
                                 {"holder", number(state.holder)},
                                 {"next_instance", number(state.next_instance)},
                                 {"slots", std::move(slots)},
                                 {"effects", std::move(effects)},
                                 {"watch_silence_ms", number(state.watch_silence_ms)},
                                 {"switch_key", to_base64url(as_bytes(state.switch_key))},
                                 {"last_switch", text(state.last_switch)},
                                 {"security_floor", state.security_floor}};
  const auto line = update::to_json_text(json) + "\n";
  return line + "sha256=" + sha256_hex(line) + "\n";
}

Result<State> parse_state(std::string_view whole) {
  const auto end = whole.find('\n');
  if (end == whole.npos) return bad("it is cut short");
  const auto line = whole.substr(0, end + 1);
  if (whole.substr(end + 1) != "sha256=" + sha256_hex(line) + "\n") return bad("wrong checksum");
  auto json = update::parse_json(line);
  if (!json) return bad(json.error().message);
  Reader in(*json);
  if (in.text("format") != kFormat) return bad("unknown format");
  State state;
  state.generation = in.number("generation");
  state.holder = in.number("holder");
  state.next_instance = in.number("next_instance");
  state.watch_silence_ms = static_cast<std::uint32_t>(in.number("watch_silence_ms"));
  state.switch_key = in.binary("switch_key");
  state.last_switch = in.text("last_switch");
  state.security_floor = in.text("security_floor");
  for (const auto& each : in.array("slots")) {
    auto slot = parse_slot(each);
    if (!slot) return fail(slot);
    state.slots.push_back(std::move(*slot));
  }
  for (const auto& each : in.array("effects")) {
    auto e = parse_effect(each);
    if (!e) return fail(e);
    state.effects.push_back(std::move(*e));
  }
  if (!in.missing().empty()) return bad(in.missing());
  return state;
}

Result<State> StateFile::load() const {
  if (!detail::exists(path_)) return State{};
  auto bytes = detail::read_file(path_, kStateBytesMax);
  if (!bytes) return fail(bytes);
  return parse_state(*bytes);
}

Result<void> StateFile::save(const State& state) const {
  auto saved = detail::write_file_durably(path_, write_state(state), 0600);
  return saved;
}

}  // namespace everspan::supervisor
