// The world of a plan: a base with its effects table, a candidate that may be bad, the committed
// record, and a driver (production core and codec) in whichever process is the writer. Everything
// happens at drawn times; everything that lives in memory dies with its process.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "common/random.h"
#include "upgrade/core/plan_codec.h"

namespace everspan::sim {

struct PlanMarks {
  int upgraded = 0, rolled_back = 0, failed = 0;
  int driver_deaths = 0, base_deaths = 0, deaths_before_effect = 0, deaths_after_effect = 0;
  int repeated_answers = 0, repeated_requests = 0, late_answers = 0, went_back = 0, asked_back = 0;
  int pauses = 0, switches_unanswered = 0, queries_known = 0, retries = 0;
  void add(const PlanMarks& other);
};

enum class Candidate : std::uint8_t {
  good,
  exits,
  hangs,
  unhealthy,
  crashloops,
  sick_after_switch,
  sickens
};

class PlanWorld {
 public:
  // `planted`: name of a misbehaviour of ours, or empty.
  PlanWorld(std::uint64_t seed, std::string planted);
  // Empty: as promised. Else what was broken.
  std::string run();
  [[nodiscard]] const PlanMarks& marks() const { return marks_; }

 private:
  using Job = std::function<void()>;
  struct Outcome {
    bool ok = true;
    std::string code;
  };

  void at(Duration delay, Job job);
  [[nodiscard]] bool is_new() const { return active_ == "new"; }
  [[nodiscard]] Duration drawn(std::uint64_t low_ms, std::uint64_t high_ms);
  void broken(std::string what);
  [[nodiscard]] bool faulty() const { return now_ < heal_at_; }

  // Driver.
  void start_driver();
  void kill_driver();
  void take(const upgrade::Event& event);
  void perform(const std::vector<upgrade::Effect>& effects);
  void save();
  void request(const upgrade::Do& what);
  void tick();
  void deliver(upgrade::Event event, Duration delay);
  void check_intent(const upgrade::Do& what);
  [[nodiscard]] upgrade::Observation observe() const;

  // Base and site, durable.
  void pump();
  void arrive(upgrade::Do what, int driver);
  Outcome act(upgrade::Action action);
  Outcome act_switch();
  void go_back_by_itself(std::string why);
  void start_candidate();
  [[nodiscard]] bool healthy() const;

  void plan_faults();
  void ask(upgrade::Request request);
  std::string verdict();

  SeededRandom random_;
  std::string planted_;
  PlanMarks marks_;
  std::string failure_;
  Instant now_{std::chrono::seconds(1000)};
  Instant heal_at_;
  std::multimap<Instant, Job> jobs_;

  Candidate kind_ = Candidate::good;
  bool base_up_ = true;
  std::string active_ = "old";
  bool candidate_ = false;
  bool candidate_ready_ = false;
  int candidate_number_ = 0;
  Instant ready_at_;
  Instant active_since_;  // The new one, without an unhealthy moment.
  bool frozen_ = false;   // The new one stopped itself.
  bool sick_ = false;
  bool staged_ = false;
  bool pinned_ = false;
  std::uint32_t level_ = 1;
  std::string last_switch_;
  std::map<std::string, Outcome> table_;
  int switches_ = 0, backs_ = 0;
  int fetch_failures_ = 0;

  std::deque<std::pair<upgrade::Do, int>> pipe_;  // To base, with the driver that sent it.

  std::string committed_;
  std::optional<upgrade::PlanState> driver_;
  int driver_number_ = 0;
  std::set<std::string> intents_;  // Committed: "candidate/1"
  bool person_asked_back_ = false;
  bool finalize_asked_ = false;
};

}  // namespace everspan::sim
