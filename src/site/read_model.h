// The schema of release 0.2.0: endpoints with their notes, accounts, sessions and tokens as tables,
// for lists and look-ups by other than the key. Built from the log by a learner before a release
// serves.
//
// Single records are read from the log itself; lists come from here, after refresh().
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "common/time.h"
#include "store/log.h"
#include "store/read_model.h"

namespace everspan::site {

class SiteProjection : public store::Projection {
 public:
  [[nodiscard]] static store::ReadModel::Schema schema();
  [[nodiscard]] bool knows(std::string_view kind) const override;
  [[nodiscard]] Result<void> put(store::Database& db, std::string_view kind,
                                 const store::Record& record) override;
  [[nodiscard]] Result<void> erase(store::Database& db, std::string_view kind,
                                   std::string_view key) override;
};

struct EndpointRow {
  EndpointId id;
  std::string name;
  std::string platform;
  std::string release;
  std::string note;
  WallTime enrolled_at;
};
struct SessionRow {
  SessionId id;
  EndpointId endpoint;
  std::string endpoint_name;
  std::string person;
  std::string recording;
  std::string open_reason;
  WallTime opened_at;
  bool ended = false;
  WallTime ended_at;  // When ended.
  std::string end_reason;
  std::uint64_t bytes_c2a = 0;  // When ended.
  std::uint64_t bytes_a2c = 0;
  std::uint32_t ttl_s = 0;
};

// The read model of this release over one log. All calls from any thread; each blocks on SQLite, so
// not on a thread that carries sessions.
class Catalog {
 public:
  static Result<std::unique_ptr<Catalog>> open(const std::string& path, store::LogReader& log);

  // Follows the log up to what is committed now.
  [[nodiscard]] Result<Revision> refresh();
  [[nodiscard]] Revision applied() const { return model_->applied(); }

  // In order of name. `note_word`: only those whose note contains it, ASCII letters of either case.
  [[nodiscard]] Result<std::vector<EndpointRow>> endpoints(const std::string& note_word = {});
  // Newest first. `live_only`: without the ended ones.
  [[nodiscard]] Result<std::vector<SessionRow>> sessions(bool live_only, std::size_t limit);
  [[nodiscard]] Result<std::optional<SessionRow>> session(const SessionId& id);
  [[nodiscard]] Result<std::uint64_t> live_session_count();
  [[nodiscard]] Result<std::uint64_t> ended_session_count();
  // Their id, person and revision only.
  struct LiveSession {
    SessionId id;
    std::string person;
    Revision opened;
  };
  [[nodiscard]] Result<std::vector<LiveSession>> live_sessions();  // In order of person.
  // In order of their end.
  [[nodiscard]] Result<std::vector<SessionId>> sessions_ended_before(WallTime time,
                                                                     std::size_t limit);
  // Keys of tokens that expired before `now`, and of the oldest of `account_key` beyond `keep`.
  [[nodiscard]] Result<std::vector<std::string>> tokens_to_erase(const std::string& account_key,
                                                                 WallTime now, std::size_t keep,
                                                                 std::size_t limit);
  [[nodiscard]] Result<std::vector<std::string>> expired_enrol_tokens(WallTime now,
                                                                      std::size_t limit);

 private:
  explicit Catalog(store::LogReader& log) : log_(log) {}
  [[nodiscard]] Result<std::uint64_t> count(const char* sql);
  store::LogReader& log_;
  SiteProjection projection_;
  std::mutex following_;  // One follower at a time.
  std::unique_ptr<store::ReadModel> model_;
};

}  // namespace everspan::site
