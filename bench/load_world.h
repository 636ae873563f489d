// All sessions of one load generator: the endpoint's standing link, both ends of each session, and
// the clock that lets messages fall due. Lives on one executor, but open_sessions().
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/identity.h"
#include "agent/standing_link.h"
#include "load_session.h"

namespace everspan::bench {

struct LoadOptions {
  console::Site site;
  std::string agent_data;  // Of an endpoint that is enrolled; no agent may run with it.
  std::size_t sessions = 1;
  Duration interval = std::chrono::milliseconds(100);
  std::size_t message_bytes = 256;
  bool bulk = false;  // From the console to the agent, as fast as it goes; else messages both ways.
};

struct WindowReport {
  Duration length{0};
  std::vector<Duration> stalls;  // The worst of each session, both directions.
  Duration generator_late{0};    // The most that this process's own clock was late.
  std::uint64_t bytes = 0;
};

class LoadWorld final : public agent::StandingLink::Owner {
 public:
  LoadWorld(net::Executor executor, LoadOptions options, agent::Identity identity,
            SigningKey agent_key, net::TlsContext tls);

  void start();                                       // The standing link.
  void add_session(console::GrantedSession session);  // The console's end; the agent's is told.
  void start_messages();
  void begin_window();
  [[nodiscard]] WindowReport window();
  void stop_sending();
  void request_end();
  [[nodiscard]] net::Task<void> close();

  [[nodiscard]] bool standing() const { return link_ != nullptr; }
  [[nodiscard]] std::size_t open_sessions() const;   // Both ends have the channel.
  [[nodiscard]] std::size_t ended_sessions() const;  // Both ends know that it is over.
  [[nodiscard]] bool all_arrived() const;
  struct Totals {
    std::uint64_t written = 0;
    std::uint64_t received = 0;
    std::uint64_t wrong = 0;
  };
  [[nodiscard]] Totals totals() const;
  [[nodiscard]] const LoadCounters& counters() const { return counters_; }
  [[nodiscard]] std::uint64_t link_moves() const { return link_moves_; }
  [[nodiscard]] const SigningKey& console_key() const { return console_key_; }

  void on_orders(const pb::Orders&) override {}
  void on_migrate(agent::StandingLink& link, const pb::Migrate& migrate) override;
  void on_open_session(const std::string& signed_grant) override;
  void on_link_closed(agent::StandingLink& link, const Error& why) override;

 private:
  struct Session {
    Session(std::uint64_t salt, std::size_t bytes)
        : c2a(salt * 2, bytes), a2c(salt * 2 + 1, bytes) {}
    Flow c2a;
    Flow a2c;
    std::unique_ptr<LoadEnd> console;
    std::unique_ptr<LoadEnd> agent;
  };
  Session& session(const std::string& id);
  net::Task<void> keep_link();
  net::Task<void> tick();
  void bury(std::shared_ptr<agent::StandingLink> link);

  net::Executor executor_;
  LoadOptions options_;
  agent::Identity identity_;
  SigningKey agent_key_;
  SigningKey console_key_;
  net::TlsContext tls_;
  LoadCounters counters_;
  std::map<std::string, std::unique_ptr<Session>> sessions_;
  std::vector<Session*> order_;
  std::shared_ptr<agent::StandingLink> link_;
  std::vector<std::shared_ptr<agent::StandingLink>> old_;
  std::uint64_t link_moves_ = 0;
  bool stopping_ = false;
  Instant window_began_{};
  Duration generator_late_{0};
  net::Wakeup news_;
  bool move_ = false;
  net::TaskScope tasks_;
};

}  // namespace everspan::bench
