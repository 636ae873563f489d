#include "load_world.h"

#include <algorithm>

#include "common/check.h"
#include "proto/link.pb.h"

namespace everspan::bench {

constexpr Duration kLinkMax = std::chrono::seconds(5);
constexpr Duration kRedial = std::chrono::milliseconds(50);
constexpr Duration kHeartbeat = std::chrono::seconds(2);
constexpr Duration kTick = std::chrono::milliseconds(1);

LoadWorld::LoadWorld(net::Executor executor, LoadOptions options, agent::Identity identity,
                     SigningKey agent_key, net::TlsContext tls)
    : executor_(executor),
      options_(std::move(options)),
      identity_(std::move(identity)),
      agent_key_(std::move(agent_key)),
      console_key_(SigningKey::generate()),
      tls_(std::move(tls)),
      news_(executor),
      tasks_(executor) {}

void LoadWorld::start() {
  tasks_.spawn("link", keep_link());
}

// ---- The standing link ----

net::Task<void> LoadWorld::keep_link() {
  while (!stopping_) {
    std::vector<std::string> live;
    for (const auto& [id, each] : sessions_)
      if (each->agent) live.push_back(id);
    move_ = false;
    const auto to = identity_.candidates.front();
    auto opened = co_await agent::StandingLink::open(executor_, *this, identity_, agent_key_, tls_,
                                                     std::move(live), to, net::now() + kLinkMax);
    if (stopping_) co_return;
    if (!opened) {
      counters_.last_problem = "standing link: " + opened.error().text();
      const bool slept = co_await net::sleep_for(kRedial);
      if (!slept) co_return;
      continue;
    }
    if (link_) {
      ++link_moves_;
      link_->close_softly();
      old_.push_back(std::move(link_));
    }
    link_ = std::move(*opened);
    link_->start();
    while (link_ && !move_ && !stopping_) {
      link_->ping();
      std::ignore = co_await news_.wait_until(net::now() + kHeartbeat);
    }
  }
}

void LoadWorld::on_migrate(agent::StandingLink& link, const pb::Migrate&) {
  if (&link != link_.get()) return;
  move_ = true;
  news_.notify();
}

void LoadWorld::bury(std::shared_ptr<agent::StandingLink> link) {
  net::asio::post(executor_, [link = std::move(link)] {});
}

void LoadWorld::on_link_closed(agent::StandingLink& link, const Error& why) {
  if (&link == link_.get()) {
    counters_.last_problem = "standing link: " + why.text();
    bury(std::move(link_));
    news_.notify();
    return;
  }
  std::erase_if(old_, [&](auto& old) {
    if (old.get() != &link) return false;
    bury(std::move(old));
    return true;
  });
}

// ---- Sessions ----

LoadWorld::Session& LoadWorld::session(const std::string& id) {
  auto& slot = sessions_[id];
  if (!slot) {
    const std::size_t bytes = options_.bulk ? 0 : options_.message_bytes;
    slot = std::make_unique<Session>(sessions_.size(), bytes);
    order_.push_back(slot.get());
  }
  return *slot;
}

void LoadWorld::add_session(console::GrantedSession granted) {
  Session& mine = session(granted.session_id);
  mine.console =
      std::make_unique<LoadEnd>(EndParts{executor_, tls_, console_key_, counters_}, granted,
                                relay_end::Side::console, mine.c2a, mine.a2c, options_.bulk);
}

void LoadWorld::on_open_session(const std::string& signed_grant) {
  console::GrantedSession granted;
  granted.signed_grant = signed_grant;
  if (const auto read = console::read_grant(granted); !read) {
    counters_.last_problem = read.error().text();
    return;
  }
  granted.candidates = identity_.candidates;
  Session& mine = session(granted.session_id);
  if (mine.agent) return;
  mine.agent = std::make_unique<LoadEnd>(EndParts{executor_, tls_, agent_key_, counters_}, granted,
                                         relay_end::Side::agent, mine.a2c, mine.c2a, false);
}

std::size_t LoadWorld::open_sessions() const {
  return static_cast<std::size_t>(std::ranges::count_if(order_, [](const Session* each) {
    return each->console && each->agent && each->console->open() && each->agent->open();
  }));
}

std::size_t LoadWorld::ended_sessions() const {
  return static_cast<std::size_t>(std::ranges::count_if(order_, [](const Session* each) {
    return each->console && each->agent && each->console->ended() && each->agent->ended();
  }));
}

void LoadWorld::start_messages() {
  begin_window();
  if (!options_.bulk) tasks_.spawn("tick", tick());
}

// Sessions fall due one after the other, evenly over the interval.
net::Task<void> LoadWorld::tick() {
  const Instant start = net::now();
  const auto step = options_.interval / static_cast<std::int64_t>(order_.size());
  std::uint64_t done = 0;
  Instant next = start;
  while (!stopping_) {
    next += kTick;
    const bool slept = co_await net::sleep_until(next);
    if (!slept) co_return;
    const Instant now = net::now();
    generator_late_ = std::max(generator_late_, now - next);
    const auto due = static_cast<std::uint64_t>((now - start) / step);
    for (; done < due; ++done) {
      Session& each = *order_[done % order_.size()];
      if (each.console) each.console->send_message();
      if (each.agent) each.agent->send_message();
    }
    if (now > next + kTick) next = now;
  }
}

void LoadWorld::begin_window() {
  window_began_ = net::now();
  generator_late_ = Duration{0};
  counters_.moves = 0;
  for (Session* each : order_) {
    each->c2a.begin_window();
    each->a2c.begin_window();
  }
}

WindowReport LoadWorld::window() {
  WindowReport report;
  const Instant now = net::now();
  report.length = now - window_began_;
  report.generator_late = generator_late_;
  for (Session* each : order_) {
    each->c2a.count_waiting(now);
    each->a2c.count_waiting(now);
    report.stalls.push_back(std::max(each->c2a.worst(), each->a2c.worst()));
    report.bytes += each->c2a.window_bytes() + each->a2c.window_bytes();
  }
  return report;
}

LoadWorld::Totals LoadWorld::totals() const {
  Totals totals;
  for (const Session* each : order_)
    for (const Flow* flow : {&each->c2a, &each->a2c}) {
      totals.written += flow->written();
      totals.received += flow->received_bytes();
      totals.wrong += flow->wrong_pieces();
    }
  return totals;
}

bool LoadWorld::all_arrived() const {
  return std::ranges::all_of(order_, [](const Session* each) {
    return each->c2a.written() == each->c2a.received_bytes() && each->c2a.owed() == 0 &&
           each->a2c.written() == each->a2c.received_bytes() && each->a2c.owed() == 0;
  });
}

void LoadWorld::stop_sending() {
  for (Session* each : order_) {
    if (each->console) each->console->stop_sending();
    if (each->agent) each->agent->stop_sending();
  }
}

void LoadWorld::request_end() {
  for (Session* each : order_)
    if (each->agent) each->agent->request_end();
}

net::Task<void> LoadWorld::close() {
  stopping_ = true;
  news_.notify();
  tasks_.cancel();
  co_await tasks_.join();
  for (Session* each : order_) {
    if (each->console) co_await each->console->close();
    if (each->agent) co_await each->agent->close();
  }
  if (link_) link_->close();
  for (auto& old : old_) old->close();
}

}  // namespace everspan::bench
