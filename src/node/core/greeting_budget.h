// What strangers who say that they are nodes may cost: how many of them are being asked who they
// are, and how many refusals are told. Pure: time comes in.
//
// Invariants
//   B1  At most `most` at once, `per_address_most` from one address.
//   B2  Where a known node lives a place is free whatever strangers elsewhere do: `most` does not
//       count there.
//   B3  At most `told_most` refusals in `told_in`; those in between are counted, and the next one
//       that is told says how many.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/time.h"

namespace everspan::node {

class GreetingBudget {
 public:
  struct Limits {
    std::size_t most = 128;
    std::size_t per_address_most = 16;  // A node dials three links, and again when one is lost.
    std::uint32_t told_most = 10;
    Duration told_in = std::chrono::minutes(1);
  };
  GreetingBudget() : GreetingBudget(Limits{}) {}
  explicit GreetingBudget(Limits limits) : limits_(limits) {}

  // True: a place is taken until ended(). `known`: a known node lives there; `loopback`: this
  // machine, where addresses tell nobody apart.
  [[nodiscard]] bool begin(const std::string& address, bool known, bool loopback);
  void ended(const std::string& address);
  [[nodiscard]] std::size_t running() const { return running_; }

  // nullopt: count it only. Else: tell it, and that so many were not told before it.
  [[nodiscard]] std::optional<std::uint64_t> refused(Instant now);

 private:
  Limits limits_;
  std::map<std::string, std::size_t> per_address_;
  std::size_t running_ = 0;
  Instant told_since_ = Instant::min();
  std::uint32_t told_ = 0;
  std::uint64_t untold_ = 0;
};

}  // namespace everspan::node
