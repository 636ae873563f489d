// The legs of one end of one session: which one sends, which ones still deliver, when to dial and
// with which generation, and when the session is over for want of a leg. Pure.
//
//                 start / loss                dialled, sent Attach            Attached
//   (none) ------------------> waiting(at) -------------------> attaching -----------> current
//                                  ^                                |  failed, refused    |
//                                  +---- next candidate, later -----+                     | Migrate
//   current + waiting/attaching (planned): the old leg carries on until the new one is attached,
//   then it is draining: it still delivers, until the node's Barrier, its loss, or kDrainMax.
//
// Invariants
//   L1  Each attempt takes a generation higher than any before; an answer for another is ignored.
//   L2  At most one leg sends: the current one. A draining leg gets nothing after our Barrier.
//   L3  A leg is current only after Attached with the generation that was asked for.
//   L4  Losing the current leg gives up a planned attempt: its bytes need a resume, which only an
//       attach with reason `lost` tells the other end about.
//   L5  Without a current leg for `ttl` the session has ended here.
//   L6  After a loss the first to be dialled is where the leg was, if it is a candidate still: the
//       node that carries the session has the other end and the recording.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/random.h"
#include "common/time.h"

namespace everspan::relay_end {

struct Candidate {
  std::string host;
  std::uint16_t port = 0;
  std::string node;  // Name to expect in the certificate; empty: `host`.
  bool operator==(const Candidate&) const = default;
};
inline constexpr std::size_t kCandidatesMax = 16;

struct LegOrders {
  std::vector<Candidate> candidates;
  Duration redial_after{0};
  Duration redial_spread{0};
  Duration heartbeat{0};  // 0: kHeartbeatDefault
};

enum class DialReason : std::uint8_t { first = 0, planned = 1, lost = 2 };

// Dial, say Hello, send Attach with this generation; frames from then on belong to leg
// `generation`.
struct Dial {
  std::uint64_t generation = 0;
  DialReason reason = DialReason::first;
  Candidate candidate;
};

class LegKeeper {
 public:
  static constexpr Duration kHeartbeatDefault = std::chrono::seconds(5);
  static constexpr int kSilentHeartbeatsMax = 3;
  static constexpr Duration kAttachMax = std::chrono::seconds(5);
  static constexpr Duration kDrainMax = std::chrono::seconds(30);
  static constexpr Duration kRetryFirst = std::chrono::milliseconds(50);
  static constexpr Duration kRetryMax = std::chrono::seconds(1);

  struct Out {
    std::optional<Dial> dial;
    std::vector<std::uint64_t> close;   // Legs to drop now.
    std::optional<std::uint64_t> ping;  // Current leg, quiet for a heartbeat.
    bool current_lost = false;
    bool drain_lost = false;  // A draining leg ended without its Barrier.
    bool ttl_over = false;
  };

  LegKeeper(LegOrders orders, Duration ttl, std::uint64_t seed, std::uint64_t generation_used = 0);

  void start(DialReason reason, Instant now);
  void set_orders(LegOrders orders);
  void migrate(std::uint64_t leg, std::vector<Candidate> to, Duration delay, Instant now);

  struct Attachment {
    DialReason reason = DialReason::first;
    bool retried = false;              // An attempt before may have been taken, and broke.
    std::optional<std::uint64_t> old;  // Is draining now; gets our Barrier.
  };
  [[nodiscard]] std::optional<Attachment> attached(std::uint64_t leg, Instant now);
  void failed(std::uint64_t leg, Duration retry_after, Instant now, Out& out);  // Any leg.
  void drained(std::uint64_t leg);                                              // Its Barrier came.
  void heard(std::uint64_t leg, Instant now);
  void tick(Instant now, Out& out);
  [[nodiscard]] Instant wake_at() const;

  [[nodiscard]] std::optional<std::uint64_t> current() const;
  [[nodiscard]] bool attaching(std::uint64_t leg) const;
  [[nodiscard]] bool delivers(std::uint64_t leg) const;  // current or draining
  [[nodiscard]] bool is_draining(std::uint64_t leg) const;
  [[nodiscard]] bool any_draining() const { return !draining_.empty(); }
  [[nodiscard]] std::uint64_t generation_used() const { return generation_; }
  [[nodiscard]] const LegOrders& orders() const { return orders_; }
  [[nodiscard]] std::vector<Candidate> candidates() const;  // As a loss would dial them (L6).

 private:
  struct Current {
    std::uint64_t generation = 0;
    Instant heard_at{};
    bool pinged = false;
  };
  struct Draining {
    std::uint64_t generation = 0;
    Instant until{};
  };
  struct Attempt {
    DialReason reason = DialReason::first;
    std::vector<Candidate> candidates;  // planned: of the Migrate; else empty: candidates().
    std::size_t tries = 0;
    Candidate dialled{};
    std::optional<std::uint64_t> generation;  // Set: dialled, waiting for Attached.
    Instant at{};                             // When to dial, or when to give up waiting.
  };

  void try_again(Duration retry_after, Instant now);
  void lose_current(Instant now, Out& out);
  [[nodiscard]] Dial next_dial();
  [[nodiscard]] Duration heartbeat() const;

  LegOrders orders_;
  Duration ttl_;
  SeededRandom random_;
  std::uint64_t generation_;
  std::optional<Current> current_;
  std::optional<Candidate> last_;  // Where the newest leg was attached.
  std::vector<Draining> draining_;
  std::optional<Attempt> attempt_;
  Instant without_leg_since_{};
};

}  // namespace everspan::relay_end
