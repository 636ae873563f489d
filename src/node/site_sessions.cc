// What the process that writes does with the directory of sessions from time to time: ends those
// that nobody carries any more, forgets those that ended long ago.
#include "common/log.h"
#include "node/site_process.h"
#include "site/sessions.h"

namespace everspan::node {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(15);

}  // namespace

net::Task<> SiteProcess::look_after_sessions() {
  for (;;) {
    const bool waited = co_await net::sleep_for(kLookEvery);
    if (!waited) co_return;
    if (!writes_.serving()) continue;
    const Result<void> ended = co_await end_abandoned();
    if (!ended) log_warning("sessions.look_failed", {{"why", ended.error().text()}});
    const Result<void> forgotten = co_await forget_ended();
    if (!forgotten) log_warning("sessions.forget_failed", {{"why", forgotten.error().text()}});
  }
}

// Sessions that nobody carries any more, and that no relay remembers (core/absence.h).
net::Task<Result<void>> SiteProcess::end_abandoned() {
  constexpr std::size_t kSessionsAtOnce = 100'000;
  site::Catalog* catalog = catalog_.get();
  const std::function<Result<std::vector<site::SessionRow>>()> work =
      [catalog]() -> Result<std::vector<site::SessionRow>> {
    const Result<Revision> fresh = catalog->refresh();
    if (!fresh) return fail(fresh);
    return catalog->sessions(true, kSessionsAtOnce);
  };
  const Result<std::vector<site::SessionRow>> rows = co_await pool_.run(work);
  if (!rows) co_return fail(rows);
  const Result<api::LiveSnapshot> live = co_await live_->snapshot();
  if (!live) co_return fail(live);
  std::vector<Absence::Live> directory;
  for (const site::SessionRow& row : *rows)
    directory.push_back({row.id, std::chrono::seconds(row.ttl_s)});
  std::set<SessionId> attached;
  for (const api::LiveSession& session : live->sessions) attached.insert(session.id);
  for (const SessionId& session : absence_.look(directory, attached, net::now()))
    live_->request_end(session, "time to live");
  co_return Result<void>();
}

// One batch at a time, so that ten years of them hold up nobody's write.
net::Task<Result<void>> SiteProcess::forget_ended() {
  site::Context* context = context_.get();
  const std::function<Result<std::vector<SessionId>>()> work = [context] {
    return site::Sessions(*context).forgettable();
  };
  const Result<std::vector<SessionId>> ids = co_await pool_.run(work);
  if (!ids) co_return fail(ids);
  if (ids->empty()) co_return Result<void>();
  site::Sessions sessions(*context_);
  const Result<store::Outcome> gone = co_await sessions.forget(*ids);
  if (!gone) co_return fail(gone);
  store::JournalEntry entry;
  entry.who = "node";
  entry.what = "sessions.forgotten";
  entry.at = net::wall_now();
  entry.detail = "{\"count\":" + std::to_string(ids->size()) + "}";
  journal_->append(std::move(entry));
  co_return Result<void>();
}

}  // namespace everspan::node
