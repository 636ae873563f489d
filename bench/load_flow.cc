#include "load_flow.h"

#include <algorithm>

#include "common/random.h"

namespace everspan::bench {
namespace {

constexpr std::size_t kPeriod = 1'048'573;  // A prime: no power of two of an offset repeats it.

const std::string& table() {
  static const std::string bytes = [] {
    std::string out;
    SeededRandom random(20);
    while (out.size() < kPeriod) out.push_back(static_cast<char>(random.next() >> 32));
    out += out.substr(0, kPieceBytes);
    return out;
  }();
  return bytes;
}

}  // namespace

std::string_view payload(std::uint64_t salt, std::uint64_t offset, std::size_t size) {
  return std::string_view(table()).substr((offset + salt * 7919) % kPeriod,
                                          std::min(size, kPieceBytes));
}

void Flow::received(std::string_view bytes, Instant now) {
  window_bytes_ += bytes.size();
  while (!bytes.empty()) {
    const auto expected = payload(salt_, received_, bytes.size());
    wrong_ += bytes.substr(0, expected.size()) != expected;
    received_ += expected.size();
    bytes.remove_prefix(expected.size());
  }
  if (message_bytes_ == 0) return;
  while (!sent_at_.empty() && received_ >= (delivered_messages_ + 1) * message_bytes_) {
    worst_ = std::max(worst_, now - sent_at_.front());
    sent_at_.pop_front();
    ++delivered_messages_;
  }
}

void Flow::count_waiting(Instant now) {
  if (!sent_at_.empty()) worst_ = std::max(worst_, now - sent_at_.front());
}

}  // namespace everspan::bench
