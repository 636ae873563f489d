#include "plan_world.h"

namespace everspan::sim {

using namespace std::chrono_literals;
using upgrade::Action;
using upgrade::Request;
using upgrade::StepKind;

namespace {

constexpr auto kSoak = 5s;
constexpr auto kSettle = 1s;
constexpr auto kSilence = 1s;

upgrade::SiteSnapshot snapshot() {
  upgrade::SiteSnapshot site;
  site.version = *Version::parse("0.1.0");
  site.base_version = site.version;
  site.digest = "old";
  site.platform = "linux-x86_64";
  site.feature_level = 1;
  update::Manifest manifest;
  manifest.kind = "site";
  manifest.version = *Version::parse("0.2.0");
  manifest.platform = site.platform;
  manifest.log_format = 1;
  manifest.feature_level = 2;
  site.releases.push_back({"new.pkg", "new", 1000, manifest});
  return site;
}

}  // namespace

void PlanMarks::add(const PlanMarks& o) {
  upgraded += o.upgraded, rolled_back += o.rolled_back, failed += o.failed;
  driver_deaths += o.driver_deaths, base_deaths += o.base_deaths;
  deaths_before_effect += o.deaths_before_effect, deaths_after_effect += o.deaths_after_effect;
  repeated_answers += o.repeated_answers, repeated_requests += o.repeated_requests;
  late_answers += o.late_answers, went_back += o.went_back, asked_back += o.asked_back;
  pauses += o.pauses, switches_unanswered += o.switches_unanswered;
  queries_known += o.queries_known, retries += o.retries;
}

PlanWorld::PlanWorld(std::uint64_t seed, std::string planted)
    : random_(seed), planted_(std::move(planted)) {
  kind_ = random_.one_in(2) ? Candidate::good : static_cast<Candidate>(random_.below(7));
  heal_at_ = now_ + std::chrono::seconds(random_.between(0, 40));
  upgrade::Policy policy;
  policy.soak = kSoak;
  policy.settle = kSettle;
  policy.silence = kSilence;
  policy.candidate_timeout = 5s;
  policy.auto_finalize = random_.one_in(2);
  PlanId id;
  id.bytes[0] = 7;
  auto plan = upgrade::plan(snapshot(), policy, {}, id);
  if (!plan) {
    broken("no plan: " + plan.error().message);
    return;
  }
  committed_ = upgrade::encode_plan(upgrade::begin(std::move(*plan), WallTime{1}).stored);
}

void PlanWorld::at(Duration delay, Job job) {
  jobs_.emplace(now_ + delay, std::move(job));
}
Duration PlanWorld::drawn(std::uint64_t low_ms, std::uint64_t high_ms) {
  return std::chrono::milliseconds(random_.between(low_ms, high_ms));
}
void PlanWorld::broken(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

// ---- driver
// ---------------------------------------------------------------------------------------

void PlanWorld::start_driver() {
  const int number = ++driver_number_;
  at(drawn(1, 300), [this, number] {
    if (number != driver_number_ || (is_new() && frozen_)) return;
    auto stored = upgrade::decode_plan(committed_);
    if (!stored) return broken("the record cannot be read: " + stored.error().message);
    if (planted_ == "short_soak") stored->plan.policy.soak = 1s;
    driver_ = upgrade::resume_from(std::move(*stored));
    if (upgrade::ended(driver_->stored)) return;
    if (planted_ == "forgets_to_begin" && number > 1) return;
    take(upgrade::Begun{observe()});
  });
}

void PlanWorld::kill_driver() {
  driver_.reset();
  ++driver_number_;
  marks_.driver_deaths += 1;
}

upgrade::Observation PlanWorld::observe() const {
  upgrade::Observation seen;
  seen.active_digest = active_;
  if (candidate_) seen.candidate_digest = "new";
  seen.candidate_ready = candidate_ && candidate_ready_;
  if (staged_) seen.staged = {"new"};
  seen.last_switch = last_switch_;
  seen.feature_level = level_;
  if (planted_ == "believes_answers" && candidate_) seen.candidate_ready = true;
  return seen;
}

void PlanWorld::take(const upgrade::Event& event) {
  if (!driver_ || !failure_.empty()) return;
  auto result =
      upgrade::next(std::move(*driver_), event, {now_, WallTime{now_.time_since_epoch() / 1ms}});
  driver_ = std::move(result.state);
  perform(result.effects);
  tick();
}

// What a real driver does, with a death possible between any two things.
void PlanWorld::perform(const std::vector<upgrade::Effect>& effects) {
  const int number = driver_number_;
  for (const auto& effect : effects) {
    if (faulty() && random_.one_in(60)) {
      marks_.deaths_before_effect += 1;
      kill_driver();
      return start_driver();
    }
    if (std::holds_alternative<upgrade::Save>(effect)) {
      if (planted_ == "acts_before_saving")
        for (const auto& later : driver_->now.after_save)
          if (const auto* what = std::get_if<upgrade::Do>(&later)) request(*what);
      if (!driver_) return;
      save();
      take(upgrade::Saved{});
    } else if (const auto* what = std::get_if<upgrade::Do>(&effect)) {
      request(*what);
    } else if (const auto* query = std::get_if<upgrade::Query>(&effect)) {
      upgrade::QueryAnswered answer{query->key, false, false, "", ""};
      if (const auto row = table_.find(query->key); row != table_.end()) {
        answer.known = true;
        answer.ok = row->second.ok;
        answer.code = row->second.code;
        marks_.queries_known += 1;
      }
      deliver(answer, drawn(1, 50));
    } else if (std::holds_alternative<upgrade::Observe>(effect)) {
      // Seen now, told later: as stale as it gets.
      deliver(upgrade::Observed{observe()}, drawn(1, 100));
    } else {
      deliver(upgrade::Health{healthy(), "sick"}, drawn(1, 20));
    }
    if (number != driver_number_ || !driver_) return;
    if (faulty() && random_.one_in(60)) {
      marks_.deaths_after_effect += 1;
      kill_driver();
      return start_driver();
    }
  }
}

void PlanWorld::save() {
  upgrade::PlanState::Stored stored = driver_->stored;
  if (planted_ == "finalize_in_memory") stored.finalize_asked = false;
  committed_ = upgrade::encode_plan(stored);
  driver_->stored.original = committed_;
  for (const auto& step : stored.plan.steps)
    if (step.attempt > 0) intents_.insert(step.id + "/" + std::to_string(step.attempt));
  if (stored.undo != upgrade::Undo::none)
    intents_.insert((stored.undo == upgrade::Undo::back ? "undo-back/" : "undo-candidate/") +
                    std::to_string(stored.undo_attempt));
}

void PlanWorld::check_intent(const upgrade::Do& what) {
  const auto slash = what.key.rfind('/', what.key.rfind('/') - 1);
  if (!intents_.contains(what.key.substr(slash + 1)))
    broken("U1: " + what.key + " went out before its intent was committed");
  if (what.action == Action::back && pinned_) broken("U5: going back after pin");
}

void PlanWorld::request(const upgrade::Do& what) {
  check_intent(what);
  const int number = driver_number_;
  pipe_.emplace_back(what, number);
  at(drawn(1, 60), [this] { pump(); });
  if (faulty() && random_.one_in(10)) {
    marks_.repeated_requests += 1;
    at(drawn(1, 8000), [this, what, number] {
      if (base_up_ && pipe_.empty()) arrive(what, number);  // Repeated, never ahead of its turn.
    });
  }
}

void PlanWorld::deliver(upgrade::Event event, Duration delay) {
  const int number = driver_number_;
  at(delay, [this, event = std::move(event), number] {
    if (number == driver_number_ && driver_) take(event);
  });
}

void PlanWorld::tick() {
  if (!driver_) return;
  const Instant wake = upgrade::wake_at(*driver_);
  if (wake == Instant::max()) return;
  const int number = driver_number_;
  jobs_.emplace(std::max(wake, now_), [this, number] {
    if (number == driver_number_ && driver_ && upgrade::wake_at(*driver_) <= now_)
      take(upgrade::TimePassed{});
  });
}

// ---- base and site
// ----------------------------------------------------------------------------------

// A socket keeps the order; while base is away its requests wait, and are sent again under the same
// key.
void PlanWorld::pump() {
  if (!base_up_) return at(drawn(50, 200), [this] { pump(); });
  const auto [what, driver] = pipe_.front();
  pipe_.pop_front();
  arrive(what, driver);
}

void PlanWorld::arrive(upgrade::Do what, int driver) {
  const bool known = table_.contains(what.key) && planted_ != "base_forgets";
  if (!known) table_[what.key] = act(what.action);
  const Outcome outcome = table_[what.key];
  if (driver != driver_number_ || !driver_) {
    if (what.action == Action::switch_over) marks_.switches_unanswered += 1;
    return;  // Nobody is there any longer to hear it.
  }
  const bool late = faulty() && random_.one_in(15);
  if (late) marks_.late_answers += 1;
  const upgrade::Answered answer{what.key, outcome.ok, outcome.code, ""};
  deliver(answer, late ? drawn(5000, 40000) : drawn(1, 60));
  if (faulty() && random_.one_in(10)) {
    marks_.repeated_answers += 1;
    deliver(answer, drawn(1, 5000));
  }
}

PlanWorld::Outcome PlanWorld::act(Action action) {
  switch (action) {
    case Action::resolve:
    case Action::preflight:
    case Action::backup:
      return {};
    case Action::fetch:
      if (faulty() && fetch_failures_ < 3 && random_.one_in(3)) {
        fetch_failures_ += 1;
        marks_.retries += 1;
        return {false, "unreachable"};
      }
      staged_ = true;
      return {};
    case Action::start_candidate:
      if (is_new()) return {false, "refused"};
      start_candidate();
      return {};
    case Action::stop_candidate:
      candidate_ = candidate_ready_ = false;
      return {};
    case Action::probe:
      if (!candidate_ || !candidate_ready_) return {false, "candidate_gone"};
      if (now_ - ready_at_ < kSettle) broken("F: a probe of a candidate that had not settled");
      return kind_ == Candidate::unhealthy ? Outcome{false, "probe_failed"} : Outcome{};
    case Action::switch_over:
      return act_switch();
    case Action::good:
      if (!is_new()) return {false, "refused"};
      if (now_ - active_since_ < kSoak) broken("U4: pinned before the soak passed");
      pinned_ = true;
      return {};
    case Action::back:
      if (!is_new() || pinned_) return {false, "refused"};
      backs_ += 1;
      go_back_by_itself("asked");
      return {};
    case Action::raise_level:
      if (!is_new() || !pinned_) broken("U4: finalised before pin");
      level_ = 2;
      return {};
  }
  return {false, "unknown"};
}

void PlanWorld::start_candidate() {
  candidate_ = true;
  candidate_ready_ = false;
  const int number = ++candidate_number_;
  const auto mine = [this, number] { return candidate_ && candidate_number_ == number; };
  if (kind_ == Candidate::exits)
    at(drawn(10, 500), [this, mine] {
      if (mine()) candidate_ = false;
    });
  if (kind_ == Candidate::exits || kind_ == Candidate::hangs) return;
  at(drawn(100, 600), [this, mine, number] {
    if (!mine()) return;
    candidate_ready_ = true;
    ready_at_ = now_;
    if (kind_ == Candidate::crashloops)
      at(drawn(300, 900), [this, number] {
        if (candidate_ && candidate_number_ == number) candidate_ = candidate_ready_ = false;
      });
  });
}

PlanWorld::Outcome PlanWorld::act_switch() {
  if (is_new() || !candidate_ || !candidate_ready_) return {false, "not_ready"};
  if (++switches_ > 1) broken("U2: switched twice");
  active_ = "new";
  candidate_ = candidate_ready_ = false;
  last_switch_ = "switched";
  active_since_ = now_;
  kill_driver();  // The old process is no writer any longer.
  start_driver();
  if (kind_ == Candidate::sick_after_switch)
    at(drawn(0, 3000), [this] {
      if (!is_new()) return;
      frozen_ = true;
      kill_driver();
      at(kSilence, [this] {
        if (is_new() && frozen_) go_back_by_itself("went back: silent");
      });
    });
  if (kind_ == Candidate::sickens) at(drawn(100, 4000), [this] { sick_ = true; });
  return {};
}

void PlanWorld::go_back_by_itself(std::string why) {
  if (pinned_) broken("base went back after pin");
  marks_.went_back += 1;
  active_ = "old";
  frozen_ = false;
  last_switch_ = std::move(why);
  kill_driver();
  start_driver();
}

bool PlanWorld::healthy() const {
  return !(is_new() && sick_);
}

// ---- faults and the person
// --------------------------------------------------------------------------

void PlanWorld::ask(Request request) {
  if (!driver_ || !upgrade::may_ask(driver_->stored, request)) return;
  if (request == Request::rollback) person_asked_back_ = true, marks_.asked_back += 1;
  if (request == Request::pause) marks_.pauses += 1;
  take(upgrade::Asked{request});
  // Acknowledged only if the driver lived to say that it is stored.
  if (driver_ && driver_->stored.finalize_asked) finalize_asked_ = true;
}

void PlanWorld::plan_faults() {
  const auto span = static_cast<std::uint64_t>((heal_at_ - now_) / 1ms);
  for (std::uint64_t i = random_.below(6); i > 0 && span > 0; --i)
    at(drawn(0, span), [this] {
      kill_driver();
      start_driver();
    });
  for (std::uint64_t i = random_.below(3); i > 0 && span > 0; --i)
    at(drawn(0, span), [this] {
      base_up_ = false;
      marks_.base_deaths += 1;
      at(drawn(100, 2000), [this] { base_up_ = true; });
    });
  if (random_.one_in(6)) at(drawn(0, 20000), [this] { ask(Request::rollback); });
  if (random_.one_in(4)) at(drawn(0, 20000), [this] { ask(Request::pause); });
  if (random_.one_in(3)) at(drawn(0, 15000), [this] { ask(Request::finalize); });
  // The person asks until it was taken once; then it is the plan's affair.
  for (int i = 1; i < 400; ++i)
    at(std::chrono::seconds(i), [this] {
      if (!driver_) return;
      if (driver_->stored.status == upgrade::Status::paused && !faulty()) ask(Request::resume);
      if (!finalize_asked_ && upgrade::awaits_finalize(driver_->stored)) ask(Request::finalize);
    });
}

std::string PlanWorld::verdict() {
  const auto stored = upgrade::decode_plan(committed_);
  if (!stored) return "the record cannot be read";
  const std::string end(upgrade::word(stored->status));
  if (stored->status == upgrade::Status::upgraded) {
    marks_.upgraded += 1;
    if (kind_ != Candidate::good) return "upgraded to a bad release";
    if (!is_new() || !pinned_ || level_ != 2) return "upgraded, but it is not so";
    return "";
  }
  if (stored->status == upgrade::Status::failed && !staged_ && fetch_failures_ > 0) {
    marks_.failed += 1;
    return is_new() || candidate_ ? "failed with something left" : "";
  }
  if (stored->status != upgrade::Status::rolled_back)
    return "it did not end: " + end + " at " + std::to_string(stored->cursor) + ": " +
           stored->why_code + ": " + stored->why;
  marks_.rolled_back += 1;
  if (is_new() || level_ != 1 || pinned_) return "rolled back, but it is not so";
  if (candidate_) return "rolled back, and a candidate still runs";
  const bool pre_switch = kind_ == Candidate::exits || kind_ == Candidate::hangs ||
                          kind_ == Candidate::unhealthy || kind_ == Candidate::crashloops;
  if (pre_switch && switches_ > 0) return "switched to a release that was bad before";
  const bool without_reason =
      kind_ == Candidate::good && !person_asked_back_ && stored->why_code != "timeout" &&
      stored->why_code != "candidate_ended" && stored->why_code != "candidate_gone" &&
      stored->why_code != "not_ready";
  return without_reason ? "rolled back for no reason: " + stored->why_code + ": " + stored->why
                        : "";
}

std::string PlanWorld::run() {
  if (!failure_.empty()) return failure_;
  plan_faults();
  start_driver();
  const Instant end = now_ + 30min;
  while (!jobs_.empty() && failure_.empty()) {
    const auto first = jobs_.begin();
    now_ = std::max(now_, first->first);
    if (now_ > end) break;
    const Job job = std::move(first->second);
    jobs_.erase(first);
    job();
  }
  return failure_.empty() ? verdict() : failure_;
}

}  // namespace everspan::sim
