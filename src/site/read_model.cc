#include "site/read_model.h"

#include <algorithm>
#include <array>

#include "common/bytes.h"
#include "proto/records.pb.h"
#include "site/records.h"

namespace everspan::site {
namespace {

// 2: endpoint_note. 3: sessions_by_end. 4: sessions.revision.
constexpr std::int64_t kSchemaVersion = 4;

const char* const kTables[] = {
    "CREATE TABLE endpoints (id TEXT PRIMARY KEY, name TEXT NOT NULL, platform TEXT NOT NULL, "
    "release TEXT NOT NULL, enrolled_at_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX endpoints_by_name ON endpoints (name COLLATE NOCASE)",
    // `folded`: with ASCII letters in lower case, for searching.
    "CREATE TABLE endpoint_note (id TEXT PRIMARY KEY, note TEXT NOT NULL, folded TEXT NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE accounts (key TEXT PRIMARY KEY, area INTEGER NOT NULL, name TEXT NOT NULL, "
    "disabled INTEGER NOT NULL, created_at_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tokens (key TEXT PRIMARY KEY, account_key TEXT NOT NULL, "
    "created_at_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX tokens_by_account ON tokens (account_key, created_at_ms)",
    "CREATE INDEX tokens_by_expiry ON tokens (expires_at_ms)",
    "CREATE TABLE enrol_tokens (key TEXT PRIMARY KEY, expires_at_ms INTEGER NOT NULL) "
    "WITHOUT ROWID",
    "CREATE TABLE sessions (id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL, "
    "endpoint_name TEXT NOT NULL, person TEXT NOT NULL, recording TEXT NOT NULL, "
    "open_reason TEXT NOT NULL, opened_at_ms INTEGER NOT NULL, ended INTEGER NOT NULL, "
    "ended_at_ms INTEGER NOT NULL, end_reason TEXT NOT NULL, bytes_c2a INTEGER NOT NULL, "
    "bytes_a2c INTEGER NOT NULL, ttl_s INTEGER NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX sessions_by_time ON sessions (ended, opened_at_ms)",
    "CREATE INDEX sessions_newest ON sessions (opened_at_ms)",
    "CREATE INDEX sessions_by_end ON sessions (ended_at_ms) WHERE ended = 1",
};

struct TableOfKind {
  std::string_view kind;
  std::string_view erase;  // Empty: kept in the log only.
};
constexpr std::array kKinds{
    TableOfKind{kKindEndpoint, "DELETE FROM endpoints WHERE id = ?"},
    TableOfKind{kKindAccount, "DELETE FROM accounts WHERE key = ?"},
    TableOfKind{kKindToken, "DELETE FROM tokens WHERE key = ?"},
    TableOfKind{kKindEnrolToken, "DELETE FROM enrol_tokens WHERE key = ?"},
    TableOfKind{kKindSession, "DELETE FROM sessions WHERE id = ?"},
    TableOfKind{kKindRevocation, ""},
    TableOfKind{kKindSite, ""},
    TableOfKind{kKindSecret, ""},
    TableOfKind{kKindEndpointName, ""},
    TableOfKind{kKindSetting, ""},
    TableOfKind{"plan", ""},           // upgrade/
    TableOfKind{"feature_level", ""},  // features/
};

std::int64_t number(std::uint64_t value) {
  return static_cast<std::int64_t>(value);
}
std::string hex(const std::string& raw) {
  return to_hex(as_bytes(raw));
}

Result<void> put_endpoint(store::Database& db, const store::Record& record) {
  const auto endpoint = parse_record<pb::Endpoint>(kKindEndpoint, record.bytes);
  if (!endpoint) return fail(endpoint);
  auto put = db.run("INSERT OR REPLACE INTO endpoints VALUES (?, ?, ?, ?, ?)", record.key,
                    endpoint->name(), endpoint->platform(), endpoint->release(),
                    std::int64_t{endpoint->enrolled_at_ms()});
  if (!put) return put;
  if (endpoint->note().empty()) return db.run("DELETE FROM endpoint_note WHERE id = ?", record.key);
  return db.run("INSERT OR REPLACE INTO endpoint_note VALUES (?, ?, ?)", record.key,
                endpoint->note(), lower_case(endpoint->note()));
}

Result<void> put_account(store::Database& db, const store::Record& record) {
  const auto account = parse_record<pb::Account>(kKindAccount, record.bytes);
  if (!account) return fail(account);
  return db.run("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?)", record.key,
                std::int64_t{account->area()}, account->name(),
                std::int64_t{account->disabled() ? 1 : 0}, std::int64_t{account->created_at_ms()});
}

Result<void> put_token(store::Database& db, const store::Record& record) {
  const auto token = parse_record<pb::Token>(kKindToken, record.bytes);
  if (!token) return fail(token);
  const auto node = NodeId::from_raw(token->node_id());
  const access::Area area =
      token->area() == pb::AREA_APPLIANCE ? access::Area::appliance : access::Area::site;
  return db.run("INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)", record.key,
                account_key(area, node ? *node : NodeId{}, token->account()),
                std::int64_t{token->created_at_ms()}, std::int64_t{token->expires_at_ms()});
}

Result<void> put_enrol_token(store::Database& db, const store::Record& record) {
  const auto token = parse_record<pb::EnrolToken>(kKindEnrolToken, record.bytes);
  if (!token) return fail(token);
  return db.run("INSERT OR REPLACE INTO enrol_tokens VALUES (?, ?)", record.key,
                std::int64_t{token->expires_at_ms()});
}

Result<void> put_session(store::Database& db, const store::Record& record) {
  const auto session = parse_record<pb::SessionRecord>(kKindSession, record.bytes);
  if (!session) return fail(session);
  return db.run("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                record.key, hex(session->endpoint_id()), session->endpoint_name(),
                session->person(), recording_word(*session), session->reason(),
                std::int64_t{session->opened_at_ms()},
                std::int64_t{session->has_tombstone() ? 1 : 0},
                std::int64_t{session->tombstone().ended_at_ms()}, session->tombstone().reason(),
                number(session->bytes_c2a()), number(session->bytes_a2c()),
                number(session->ttl_s()), number(record.revision.value));
}

Result<SessionRow> session_row(const store::Statement& row) {
  const auto id = SessionId::from_hex(row.bytes(0));
  const auto endpoint = EndpointId::from_hex(row.bytes(1));
  if (!id) return fail(id);
  if (!endpoint) return fail(endpoint);
  return SessionRow{.id = *id,
                    .endpoint = *endpoint,
                    .endpoint_name = std::string(row.bytes(2)),
                    .person = std::string(row.bytes(3)),
                    .recording = std::string(row.bytes(4)),
                    .open_reason = std::string(row.bytes(5)),
                    .opened_at = {row.integer(6)},
                    .ended = row.integer(7) != 0,
                    .ended_at = {row.integer(8)},
                    .end_reason = std::string(row.bytes(9)),
                    .bytes_c2a = static_cast<std::uint64_t>(row.integer(10)),
                    .bytes_a2c = static_cast<std::uint64_t>(row.integer(11)),
                    .ttl_s = static_cast<std::uint32_t>(row.integer(12))};
}

// Runs a query whose parameters are bound by `bind`, one call of `take` a row.
template <class Bind, class Take>
Result<void> each_row(store::Database& db, std::string_view sql, Bind bind, Take take) {
  auto statement = db.prepare(sql);
  if (!statement) return fail(statement);
  bind(*statement);
  for (;;) {
    const auto row = statement->step();
    if (!row) return fail(row);
    if (!*row) return {};
    if (auto taken = take(*statement); !taken) return taken;
  }
}

}  // namespace

store::ReadModel::Schema SiteProjection::schema() {
  return {.version = kSchemaVersion, .ddl = {std::begin(kTables), std::end(kTables)}};
}

bool SiteProjection::knows(std::string_view kind) const {
  return std::ranges::find(kKinds, kind, &TableOfKind::kind) != kKinds.end();
}

Result<void> SiteProjection::put(store::Database& db, std::string_view kind,
                                 const store::Record& record) {
  if (kind == kKindEndpoint) return put_endpoint(db, record);
  if (kind == kKindAccount) return put_account(db, record);
  if (kind == kKindToken) return put_token(db, record);
  if (kind == kKindEnrolToken) return put_enrol_token(db, record);
  if (kind == kKindSession) return put_session(db, record);
  return {};
}

Result<void> SiteProjection::erase(store::Database& db, std::string_view kind,
                                   std::string_view key) {
  const auto* found = std::ranges::find(kKinds, kind, &TableOfKind::kind);
  if (found == kKinds.end() || found->erase.empty()) return {};
  if (kind == kKindEndpoint) {
    if (auto gone = db.run("DELETE FROM endpoint_note WHERE id = ?", key); !gone) return gone;
  }
  return db.run(found->erase, key);
}

Result<std::unique_ptr<Catalog>> Catalog::open(const std::string& path, store::LogReader& log) {
  std::unique_ptr<Catalog> catalog(new Catalog(log));
  auto model = store::ReadModel::open(path, SiteProjection::schema(), catalog->projection_);
  if (!model) return fail(model);
  catalog->model_ = std::move(*model);
  return catalog;
}

Result<Revision> Catalog::refresh() {
  const std::scoped_lock one(following_);
  return model_->catch_up(log_);
}

Result<std::vector<EndpointRow>> Catalog::endpoints(const std::string& note_word) {
  std::vector<EndpointRow> rows;
  const auto take = [&rows](const store::Statement& row) -> Result<void> {
    const auto id = EndpointId::from_hex(row.bytes(0));
    if (!id) return fail(id);
    rows.push_back({.id = *id,
                    .name = std::string(row.bytes(1)),
                    .platform = std::string(row.bytes(2)),
                    .release = std::string(row.bytes(3)),
                    .note = std::string(row.bytes(5)),
                    .enrolled_at = {row.integer(4)}});
    return {};
  };
  const std::string word = lower_case(note_word);
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db,
        "SELECT e.id, e.name, e.platform, e.release, e.enrolled_at_ms, coalesce(n.note, '') "
        "FROM endpoints e LEFT JOIN endpoint_note n ON n.id = e.id "
        "WHERE ?1 = '' OR instr(n.folded, ?1) > 0 ORDER BY e.name COLLATE NOCASE, e.id",
        [&word](store::Statement& s) { s.bind(1, word); }, take);
  });
  if (!read) return fail(read);
  return rows;
}

Result<std::vector<SessionRow>> Catalog::sessions(bool live_only, std::size_t limit) {
  std::vector<SessionRow> rows;
  const auto take = [&rows](const store::Statement& row) -> Result<void> {
    auto session = session_row(row);
    if (!session) return fail(session);
    rows.push_back(std::move(*session));
    return {};
  };
  const std::string sql = std::string("SELECT * FROM sessions ") +
                          (live_only ? "WHERE ended = 0 " : "") +
                          "ORDER BY opened_at_ms DESC LIMIT ?";
  auto read = model_->read([&](store::Database& db) {
    return each_row(db, sql, [limit](store::Statement& s) { s.bind(1, number(limit)); }, take);
  });
  if (!read) return fail(read);
  return rows;
}

Result<std::optional<SessionRow>> Catalog::session(const SessionId& id) {
  std::optional<SessionRow> found;
  const auto take = [&found](const store::Statement& row) -> Result<void> {
    auto session = session_row(row);
    if (!session) return fail(session);
    found = std::move(*session);
    return {};
  };
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db, "SELECT * FROM sessions WHERE id = ?",
        [&id](store::Statement& s) { s.bind(1, id.hex()); }, take);
  });
  if (!read) return fail(read);
  return found;
}

Result<std::uint64_t> Catalog::count(const char* sql) {
  std::uint64_t count = 0;
  auto read = model_->read([&count, sql](store::Database& db) -> Result<void> {
    const auto found = db.integer(sql);
    if (!found) return fail(found);
    count = static_cast<std::uint64_t>(*found);
    return {};
  });
  if (!read) return fail(read);
  return count;
}

Result<std::uint64_t> Catalog::live_session_count() {
  return count("SELECT count(*) FROM sessions WHERE ended = 0");
}

Result<std::uint64_t> Catalog::ended_session_count() {
  return count("SELECT count(*) FROM sessions WHERE ended = 1");
}

Result<std::vector<Catalog::LiveSession>> Catalog::live_sessions() {
  std::vector<LiveSession> found;
  const auto take = [&found](const store::Statement& row) -> Result<void> {
    const auto id = SessionId::from_hex(row.bytes(0));
    if (!id) return fail(id);
    found.push_back({*id, std::string(row.bytes(1)), {static_cast<std::uint64_t>(row.integer(2))}});
    return {};
  };
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db, "SELECT id, person, revision FROM sessions WHERE ended = 0 ORDER BY person, id",
        [](store::Statement&) {}, take);
  });
  if (!read) return fail(read);
  return found;
}

Result<std::vector<SessionId>> Catalog::sessions_ended_before(WallTime time, std::size_t limit) {
  std::vector<SessionId> ids;
  const auto take = [&ids](const store::Statement& row) -> Result<void> {
    const auto id = SessionId::from_hex(row.bytes(0));
    if (!id) return fail(id);
    ids.push_back(*id);
    return {};
  };
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db,
        "SELECT id FROM sessions WHERE ended = 1 AND ended_at_ms < ? ORDER BY ended_at_ms "
        "LIMIT ?",
        [&](store::Statement& s) { s.bind(1, time.unix_ms).bind(2, number(limit)); }, take);
  });
  if (!read) return fail(read);
  return ids;
}

Result<std::vector<std::string>> Catalog::tokens_to_erase(const std::string& account_key,
                                                          WallTime now, std::size_t keep,
                                                          std::size_t limit) {
  std::vector<std::string> keys;
  const auto take = [&keys](const store::Statement& row) -> Result<void> {
    keys.emplace_back(row.bytes(0));
    return {};
  };
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db,
        "SELECT key FROM tokens WHERE expires_at_ms <= ?1 UNION SELECT key FROM (SELECT key FROM "
        "tokens WHERE account_key = ?2 ORDER BY created_at_ms DESC LIMIT -1 OFFSET ?3) LIMIT ?4",
        [&](store::Statement& s) {
          s.bind(1, now.unix_ms).bind(2, account_key).bind(3, number(keep)).bind(4, number(limit));
        },
        take);
  });
  if (!read) return fail(read);
  return keys;
}

Result<std::vector<std::string>> Catalog::expired_enrol_tokens(WallTime now, std::size_t limit) {
  std::vector<std::string> keys;
  const auto take = [&keys](const store::Statement& row) -> Result<void> {
    keys.emplace_back(row.bytes(0));
    return {};
  };
  auto read = model_->read([&](store::Database& db) {
    return each_row(
        db, "SELECT key FROM enrol_tokens WHERE expires_at_ms <= ? LIMIT ?",
        [&](store::Statement& s) { s.bind(1, now.unix_ms).bind(2, number(limit)); }, take);
  });
  if (!read) return fail(read);
  return keys;
}

}  // namespace everspan::site
