// What happened: the journal, and recordings.
#include <charconv>

#include "api/detail/route.h"
#include "recording/core/policy.h"
#include "recording/reader.h"
#include "store/journal.h"

namespace everspan::api {
namespace {

constexpr std::size_t kJournalPageMax = 1000;
constexpr std::size_t kJournalPage = 100;

Result<std::uint64_t> number_of(const Call& call, std::string_view name, std::uint64_t otherwise) {
  const std::string text = call.request.query_value(name);
  if (text.empty()) return otherwise;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  return fail("bad_request", std::string(name) + " must be a number");
}

json::object detail_of(const std::string& text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return {};
  return std::move(value.get_object());
}

net::Task<Result<Answer>> journal_page(State& state, Call call) {
  const auto after = number_of(call, "after", 0);
  if (!after) co_return fail(after);
  const auto limit = number_of(call, "limit", kJournalPage);
  if (!limit) co_return fail(limit);
  if (*limit < 1 || *limit > kJournalPageMax)
    co_return fail("bad_request", "limit is from 1 to 1000");
  const auto entries = state.services.journal.read(*after, *limit);
  if (!entries) co_return fail(entries);
  json::array rows;
  std::uint64_t next = *after;
  for (const store::JournalEntry& entry : *entries) {
    next = entry.seq;
    rows.push_back(json::object{{"seq", entry.seq},
                                {"node", entry.node.hex()},
                                {"at", time_json(entry.at)},
                                {"who", entry.who},
                                {"what", entry.what},
                                {"subject", entry.subject},
                                {"detail", detail_of(entry.detail)}});
  }
  Answer answer;
  answer.body = {{"entries", std::move(rows)}, {"next", next}};
  co_return answer;
}

net::Task<Result<Answer>> recordings(State& state, Call) {
  const auto found = recording::list_recordings(state.services.recordings_folder);
  if (!found) co_return fail(found);
  json::array rows;
  for (const recording::RecordingSummary& each : *found) {
    const auto endpoint = state.endpoints.get(each.info.endpoint);
    const std::string name = endpoint && *endpoint ? (*endpoint)->name : each.info.endpoint.hex();
    rows.push_back(json::object{{"session", each.info.session.hex()},
                                {"endpoint", name},
                                {"person", each.info.person},
                                {"started_at", time_json({each.started_ms})},
                                {"bytes", each.bytes},
                                {"segments", each.segments},
                                {"policy", std::string(recording::policy_word(each.info.policy))}});
  }
  Answer answer;
  answer.body = {{"recordings", std::move(rows)}};
  co_return answer;
}

json::object report_json(const recording::VerifyReport& report) {
  json::array gaps;
  for (const auto& gap : report.gaps)
    gaps.push_back(
        json::object{{"channel", gap.channel},
                     {"direction", gap.direction == recording::Direction::c2a ? "c2a" : "a2c"},
                     {"from", gap.from},
                     {"to", gap.to}});
  return {{"ok", report.ok},
          {"gaps", std::move(gaps)},
          {"overlaps", report.overlaps},
          {"conflicts", report.conflicts},
          {"bytes", report.bytes},
          {"segments", report.segments},
          {"open_segments", report.open_segments},
          {"broken_chains", report.broken_chains},
          {"torn_tails", report.torn_tails},
          {"broken_files", report.broken_files},
          {"signature", nullptr}};  // The agent's rolling hash is not signed yet: unknown.
}

net::Task<Result<Answer>> verify_recording(State& state, Call call) {
  const auto id = SessionId::from_hex(call.value("session"));
  if (!id) co_return fail("bad_request", "A session's id is 32 hex digits");
  const auto report = recording::verify_recording(state.services.recordings_folder, *id);
  if (!report) co_return fail(report);
  Answer answer;
  answer.body = report_json(*report);
  co_return answer;
}

constexpr Route kRoutes[] = {
    {"GET", "/api/v1/journal", Needs::site, "audit", journal_page},
    {"GET", "/api/v1/recordings", Needs::site, "audit", recordings},
    {"GET", "/api/v1/recordings/{session}/verify", Needs::site, "audit", verify_recording},
};

}  // namespace

std::span<const Route> history_routes() {
  return kRoutes;
}

}  // namespace everspan::api
