// Settings, endpoints, sessions, recordings.
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "http/message.h"

namespace everspan::cli {
namespace {

using boost::json::object;
using http::percent_encode;

void print_fields(const Context& context, const object& fields) {
  for (const auto& member : fields) {
    std::string label = harmless(member.key());
    label.resize(std::max<std::size_t>(16, label.size() + 2), ' ');
    context.terminal().print_line(label + harmless(text_of(fields, member.key())));
  }
}

// "true", "false" and whole numbers as such, everything else as text.
boost::json::value setting_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  boost::system::error_code error;
  const boost::json::value value = boost::json::parse(text, error);
  const bool is_number = !error && (value.is_int64() || value.is_uint64());
  return is_number ? value : boost::json::value(text);
}

std::string written(const object& body) {
  return "revision " + text_of(body, "revision") + ", on " +
         std::to_string(body.contains("stores") && body.at("stores").is_array()
                            ? body.at("stores").get_array().size()
                            : 0) +
         " node(s)";
}

}  // namespace

int settings_list(Context& context) {
  const Answer answer = context.get("/api/v1/settings");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& setting : list_of(answer.body, "settings")) {
    rows.push_back({text_of(setting, "key"), text_of(setting, "value"),
                    text_of(setting, "revision"), text_of(setting, "description")});
  }
  context.print_table({{"KEY"},
                       {"VALUE", Align::left, true},
                       {"REVISION", Align::right},
                       {"MEANING", Align::left, true}},
                      rows, "There are no settings");
  return kOk;
}

int settings_get(Context& context, const std::string& key) {
  const Answer answer = context.get("/api/v1/settings/" + percent_encode(key));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  context.terminal().print_line(harmless(text_of(answer.body, "value")));
  return kOk;
}

int settings_put(Context& context, const std::string& key, const std::string& value) {
  object body;
  body["value"] = setting_value(value);
  const Answer answer =
      context.call("PUT", "/api/v1/settings/" + percent_encode(key), std::move(body));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note(written(answer.body));
  return kOk;
}

int endpoint_list(Context& context, const std::string& note_word) {
  const Answer answer =
      context.get("/api/v1/endpoints" +
                  (note_word.empty() ? std::string() : "?note=" + percent_encode(note_word)));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& row : list_of(answer.body, "endpoints")) {
    rows.push_back({text_of(row, "name"), flag_of(row, "online") ? "online" : "offline",
                    text_of(row, "sessions"), text_of(row, "platform"), text_of(row, "release"),
                    text_of(row, "last_seen"), text_of(row, "note")});
  }
  context.print_table({{"NAME", Align::left, true},
                       {"STATE"},
                       {"SESSIONS", Align::right},
                       {"PLATFORM", Align::left, true},
                       {"RELEASE"},
                       {"LAST SEEN"},
                       {"NOTE", Align::left, true}},
                      rows,
                      note_word.empty() ? "No endpoint is enrolled: everspan endpoint enrol-token"
                                        : "No endpoint has a note with this word");
  return kOk;
}

int endpoint_note(Context& context, const std::string& name, const std::string& note) {
  object body;
  body["note"] = note;
  const Answer answer =
      context.call("PUT", "/api/v1/endpoints/" + percent_encode(name), std::move(body));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note(written(answer.body));
  return kOk;
}

int endpoint_show(Context& context, const std::string& name) {
  const Answer answer = context.get("/api/v1/endpoints/" + percent_encode(name));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) print_fields(context, answer.body);
  return kOk;
}

int endpoint_enrol_token(Context& context, const EnrolTokenArguments& arguments) {
  object body;
  body["uses"] = arguments.uses;
  body["expires_in_s"] = arguments.expires_in.count() / 1000;
  if (!arguments.name.empty()) body["name"] = arguments.name;
  const Answer answer = context.call("POST", "/api/v1/enrol-tokens", std::move(body));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  context.terminal().print_line(harmless(text_of(answer.body, "token")));
  context.terminal().note("Valid until " + harmless(text_of(answer.body, "expires_at")) +
                          "; it is not shown again");
  return kOk;
}

int endpoint_remove(Context& context, const std::string& name) {
  const auto sure = context.confirm_text(
      "Removing an endpoint ends its sessions; it has to be enrolled again to come back.", name);
  if (!sure) return context.fail(sure.error());
  const Answer answer = context.call("DELETE", "/api/v1/endpoints/" + percent_encode(name), {});
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note(written(answer.body));
  return kOk;
}

int session_list(Context& context, bool all) {
  const Answer answer =
      context.get(std::string("/api/v1/sessions?state=") + (all ? "all" : "live"));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& row : list_of(answer.body, "sessions")) {
    const object& legs = object_of(row, "legs");
    const std::string attached = std::string(flag_of(legs, "console") ? "console " : "") +
                                 (flag_of(legs, "agent") ? "agent" : "");
    rows.push_back({text_of(row, "id"), text_of(row, "endpoint"), text_of(row, "person"),
                    text_of(row, "state"), attached, bytes_text(number_of(row, "bytes_c2a")),
                    bytes_text(number_of(row, "bytes_a2c")), text_of(row, "started_at")});
  }
  context.print_table({{"ID"},
                       {"ENDPOINT", Align::left, true},
                       {"PERSON", Align::left, true},
                       {"STATE"},
                       {"ATTACHED"},
                       {"TO", Align::right},
                       {"FROM", Align::right},
                       {"STARTED"}},
                      rows, all ? "There was no session yet" : "No session is live");
  return kOk;
}

int session_show(Context& context, const std::string& id) {
  const Answer answer = context.get("/api/v1/sessions/" + percent_encode(id));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) print_fields(context, answer.body);
  return kOk;
}

int session_end(Context& context, const std::string& id, const std::string& reason) {
  const auto sure = context.confirm("End session " + id + " for everybody in it?");
  if (!sure) return context.fail(sure.error());
  object body;
  if (!reason.empty()) body["reason"] = reason;
  const Answer answer =
      context.call("DELETE", "/api/v1/sessions/" + percent_encode(id), std::move(body));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note(written(answer.body));
  return kOk;
}

int recording_list(Context& context) {
  const Answer answer = context.get("/api/v1/recordings");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& row : list_of(answer.body, "recordings")) {
    rows.push_back({text_of(row, "session"), text_of(row, "endpoint"), text_of(row, "person"),
                    bytes_text(number_of(row, "bytes")), text_of(row, "segments"),
                    text_of(row, "policy"), text_of(row, "started_at")});
  }
  context.print_table({{"SESSION"},
                       {"ENDPOINT", Align::left, true},
                       {"PERSON", Align::left, true},
                       {"BYTES", Align::right},
                       {"SEGMENTS", Align::right},
                       {"POLICY"},
                       {"STARTED"}},
                      rows, "Nothing is recorded");
  return kOk;
}

int recording_verify(Context& context, const std::string& session) {
  const Answer answer = context.get("/api/v1/recordings/" + percent_encode(session) + "/verify");
  if (!answer.ok()) return context.fail(answer);
  const int exit = flag_of(answer.body, "ok") ? kOk : kFailed;
  if (!context.print_json(answer)) print_fields(context, answer.body);
  return exit;
}

}  // namespace everspan::cli
