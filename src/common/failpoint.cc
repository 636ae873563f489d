#include "common/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <list>

namespace everspan {
namespace {

enum class FailAction { exit, hang, kill, error };
struct Armed {
  std::string name;
  FailAction action = FailAction::exit;
  std::uint64_t nth = 1;
  std::uint64_t own_hits = 0;
  std::uint64_t* hits = &own_hits;
};

std::list<Armed>& armed() {
  static std::list<Armed> list;
  return list;
}
std::atomic<bool> any_armed{false};
std::string armed_text;

Result<void> arm_one(std::string_view text) {
  const auto first = text.find(':');
  const auto second = first == text.npos ? text.npos : text.find(':', first + 1);
  if (first == 0 || second == text.npos)
    return fail("bad_failpoint", "A failpoint is name:action:nth, not '" + std::string(text) + "'");
  const auto action = text.substr(first + 1, second - first - 1);
  const auto nth = text.substr(second + 1);
  FailAction parsed = FailAction::exit;
  if (action == "hang")
    parsed = FailAction::hang;
  else if (action == "kill")
    parsed = FailAction::kill;
  else if (action == "error")
    parsed = FailAction::error;
  else if (action != "exit")
    return fail("bad_failpoint", "Unknown failpoint action '" + std::string(action) + "'", "",
                "Use exit, hang, kill or error");
  std::uint64_t count = 0;
  const auto [end, error] = std::from_chars(nth.data(), nth.data() + nth.size(), count);
  if (error != std::errc{} || end != nth.data() + nth.size() || count == 0)
    return fail("bad_failpoint", "A failpoint's count is a number from 1");
  auto& entry = armed().emplace_back();
  entry.name = text.substr(0, first);
  entry.action = parsed;
  entry.nth = count;
  return {};
}

}  // namespace

Result<void> failpoints_enable(std::string_view text) {
  armed_text = text;
  while (!text.empty()) {
    const auto comma = text.find(',');
    if (auto one = arm_one(text.substr(0, comma)); !one) return fail(one);
    text = comma == text.npos ? std::string_view{} : text.substr(comma + 1);
  }
  any_armed = !armed().empty();
  return {};
}

void failpoints_share_hits(std::uint64_t* hits) {
  for (auto& entry : armed()) entry.hits = hits++;
}

std::size_t failpoints_armed_count() {
  return armed().size();
}

bool failpoint(std::string_view name) {
  if (!any_armed.load(std::memory_order_relaxed)) [[likely]]
    return false;
  for (auto& entry : armed()) {
    if (entry.name != name) continue;
    if (std::atomic_ref<std::uint64_t>(*entry.hits).fetch_add(1) + 1 != entry.nth) continue;
    switch (entry.action) {
      case FailAction::exit:
        _exit(70);
      case FailAction::hang:
        for (;;) pause();
      case FailAction::kill:
        kill(getpid(), SIGKILL);
        for (;;) pause();
      case FailAction::error:
        return true;
    }
  }
  return false;
}

std::string failpoints_armed() {
  return any_armed ? armed_text : std::string{};
}

}  // namespace everspan
