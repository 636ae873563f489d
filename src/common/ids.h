// Strong types for identities and for the numbers that fence the past (DESIGN section 1, 3, 4).
#pragma once
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan {

// 128 random bits, shown as 32 lower-case hex digits. One type per Tag, so that a session id is
// never taken for a node id.
template <class Tag>
struct Id {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const Id&) const = default;
  [[nodiscard]] bool is_zero() const { return *this == Id{}; }
  [[nodiscard]] std::string hex() const { return to_hex(Bytes(bytes.data(), bytes.size())); }
  [[nodiscard]] std::string raw() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  static Result<Id> from_hex(std::string_view text) {
    auto raw = everspan::from_hex(text);
    if (!raw) return fail(raw);
    return from_raw(*raw);
  }
  static Result<Id> from_raw(std::string_view raw) {
    Id id;
    if (raw.size() != id.bytes.size()) return fail("bad_id", "An id is 16 bytes, 32 hex digits");
    for (std::size_t i = 0; i < id.bytes.size(); ++i)
      id.bytes[i] = static_cast<std::uint8_t>(raw[i]);
    return id;
  }
};

using SiteId = Id<struct SiteTag>;
using NodeId = Id<struct NodeTag>;
using LineageId = Id<struct LineageTag>;
using SessionId = Id<struct SessionTag>;
using EndpointId = Id<struct EndpointTag>;
using RequestId = Id<struct RequestTag>;  // Names one mutating call; retries carry the same one.
using PlanId = Id<struct PlanTag>;

// A number that only grows. Compare like with like only.
template <class Tag>
struct Ordinal {
  std::uint64_t value = 0;
  auto operator<=>(const Ordinal&) const = default;
  [[nodiscard]] Ordinal next() const { return {value + 1}; }
};

using Epoch = Ordinal<struct EpochTag>;            // Which primary's turn.
using Revision = Ordinal<struct RevisionTag>;      // Which entry of the log.
using Generation = Ordinal<struct GenerationTag>;  // Which writer process of one node.
using LegGeneration = Ordinal<struct LegTag>;      // Which attachment of one end of a session.

}  // namespace everspan

template <class Tag>
struct std::hash<everspan::Id<Tag>> {
  std::size_t operator()(const everspan::Id<Tag>& id) const noexcept {
    std::size_t h = 0;  // The bytes are random: the first eight are a hash already.
    for (std::size_t i = 0; i < sizeof h; ++i) h = h << 8 | id.bytes[i];
    return h;
  }
};
