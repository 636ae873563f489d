// What the process that writes does with the directory of sessions: ends those whose person may
// have them no more, at once; from time to time those that nobody carries any more; and forgets
// those that ended long ago.
#include "common/failpoint.h"
#include "common/log.h"
#include "node/site_process.h"
#include "site/revocations.h"
#include "site/sessions.h"

namespace everspan::node {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(15);
// Of one person's, at once: the queue of the log holds twice as many, and others write too.
constexpr std::size_t kRevokedAtOnce = 4096;

}  // namespace

net::Task<> SiteProcess::look_after_sessions() {
  Instant due = net::now() + kLookEvery;
  for (;;) {
    co_await look_at_sessions_.wait_until(due);
    const bool stopped = co_await net::is_cancelled();
    if (stopped) co_return;
    const bool all = net::now() >= due;
    if (all) due = net::now() + kLookEvery;
    if (!writes_.serving() || !pair_->serves()) continue;
    const Result<void> revoked = co_await end_void();
    if (!revoked) log_warning("sessions.revoke_failed", {{"why", revoked.error().text()}});
    if (!all) continue;
    const Result<void> ended = co_await end_abandoned();
    if (!ended) log_warning("sessions.look_failed", {{"why", ended.error().text()}});
    const Result<void> forgotten = co_await forget_ended();
    if (!forgotten) log_warning("sessions.forget_failed", {{"why", forgotten.error().text()}});
  }
}

// By the log alone (access/core/session_right.h): the process that serves ends what its predecessor
// left, and a session that has its tombstone already is not found again.
net::Task<Result<void>> SiteProcess::end_void() {
  site::Context* context = context_.get();
  const std::function<Result<std::vector<site::VoidSession>>()> work = [context] {
    return site::Revocations(*context).void_sessions();
  };
  Result<std::vector<site::VoidSession>> found = co_await pool_.run(work);
  if (!found) co_return fail(found);
  if (found->empty()) co_return Result<void>();
  failpoint("sessions.before_revoke");
  if (found->size() > kRevokedAtOnce) found->resize(kRevokedAtOnce);  // More at the next look.
  for (site::VoidSession& each : *found)
    live_->end_revoked(each.id, each.person, std::move(each.reason));
  co_return Result<void>();
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
  if (!live->whole) co_return Result<void>();  // The other node may carry them.
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
