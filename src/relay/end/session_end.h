// One end of one session: its channels, the control stream (channel 0), and its legs. Pure: events
// in (frames, legs, the application, time), actions out. Console and session-host run the same
// object.
//
//   leg_frame / leg_failed / tick    ---> SessionEnd ---> Dial, SendFrames, CloseLeg
//                                                           (the legs' owner)
//   write / consume / send_control   --->            ---> Readable, Writable, ControlMessage,
//                                                         ChannelGone, LegUp, LegDown, Ended
//                                                           (application)
//
// Invariants (C1..C6: channel_end.h; L1..L5: leg_keeper.h)
//   S1  Frames of channels are sent on the current leg only, and only while the other end has a
//       leg.
//   S2  Frames are taken from the current leg and from draining ones, from no other.
//   S3  After a loss on either side both ends say `resume` for every channel, channel 0 last. A
//       channel that the other end did not name by then is unknown to it and is sent from what is
//       kept. An end that hears `resume` and has not said it just now answers with its own.
//   S4  Bytes that were lost without a word (a node that died between two legs) are noticed: a
//       receiver with a hole asks again, a sender without an answer repeats its last byte.
//   S5  A channel is forgotten when both ends said ChannelClosed, which each says when all it sent
//       is acknowledged and all that came is consumed. Frames of forgotten channels are ignored.
//   S6  After Ended nothing is done any more.
//   S7  What was consumed is acknowledged with the next data that leave, at once when the sender
//       may be waiting for it, and after kAckDelay at the latest: a message that is answered costs
//       no frame of its own.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "proto/frame.h"
#include "relay/end/channel_end.h"
#include "relay/end/leg_keeper.h"

namespace everspan::pb {
class LinkMessage;
class SessionControl;
}  // namespace everspan::pb

namespace everspan::relay_end {

enum class Side : std::uint8_t { console = 1, agent = 2 };

struct SendFrames {
  std::uint64_t leg = 0;
  std::string bytes;  // Whole frames.
};
struct CloseLeg {  // After what was sent on it has left.
  std::uint64_t leg = 0;
};
struct Readable {  // readable() grew, or at_end() became true.
  std::uint32_t channel = 0;
};
struct Writable {  // write() took less than it was given; now there is room.
  std::uint32_t channel = 0;
};
struct ControlMessage {
  std::string bytes;  // A SessionControl. ChannelClosed is dealt with here and not passed on.
};
struct ChannelGone {
  std::uint32_t channel = 0;
  std::string code;  // "": an ordinary end
  std::string message;
};
struct LegUp {
  std::uint64_t generation = 0;
  DialReason reason = DialReason::first;
};
struct LegDown {};
struct NodeNotice {
  std::string text;  // From outside: not made harmless here.
};
struct Ended {
  std::string code;  // ended, ttl, superseded, bad_peer, or the code of a final refusal
  std::string message;
};
using Action = std::variant<Dial, SendFrames, CloseLeg, Readable, Writable, ControlMessage,
                            ChannelGone, LegUp, LegDown, NodeNotice, Ended>;

inline constexpr std::size_t kControlMessageBytesMax = 16 * 1024;
inline constexpr std::size_t kControlBacklogBytesMax = 64 * 1024;  // Then nothing more is taken in.
inline constexpr std::size_t kChannelsMax = 256;                   // Open at a time.
inline constexpr std::size_t kEarlyChannelsMax = 16;               // Data came before OpenChannel.
inline constexpr std::size_t kPayloadBytes = 32 * 1024;            // A frame; channels take turns.

using ChannelFactory = std::function<std::unique_ptr<ChannelEnd>(const ChannelLimits&)>;

struct SessionOptions {
  Side side = Side::console;
  std::string session_id;  // 16 bytes
  std::string site_key;  // Verifies tombstones; empty: the node is believed (it is authenticated).
  ChannelLimits limits;  // strict: as the grant says.
  LegOrders orders;
  Duration ttl = std::chrono::minutes(15);
  std::uint64_t seed = 0;             // Spreads re-dials.
  std::uint64_t generation_used = 0;  // By this end before; more than 0: goes on after a kill.
  ChannelFactory make_channel;        // Empty: ChannelEnd itself.
};

// All that the next process of a killed end must know; `generation_used` goes into its options.
struct SessionState {
  struct Channel {
    std::uint32_t number = 0;
    bool closed_sent = false;
    bool closed_received = false;
    ChannelState bytes;
  };
  std::uint64_t generation_used = 0;
  std::uint32_t highest_odd = 0;
  std::uint32_t highest_even = 0;
  std::string control_backlog;
  std::vector<Candidate> candidates;  // Where the site was last.
  std::vector<Channel> channels;
  // Control messages that were taken in and not yet given to the application: they come once only.
  std::vector<std::string> unheard;
};

class SessionEnd {
 public:
  SessionEnd(SessionOptions options, Instant now);
  SessionEnd(const SessionEnd&) = delete;
  SessionEnd& operator=(const SessionEnd&) = delete;
  ~SessionEnd();

  void start(Instant now);  // Asks for the first leg.

  // ---- From the legs' owner ----
  void leg_frame(std::uint64_t leg, const wire::Frame& frame, Instant now);
  // A dial that failed, or a leg that broke; every leg is reported at most once.
  void leg_failed(std::uint64_t leg, Instant now);
  [[nodiscard]] bool wants_leg(std::uint64_t leg) const { return legs_.attaching(leg); }
  void tick(Instant now);
  [[nodiscard]] Instant wake_at() const;
  [[nodiscard]] std::vector<Action> take_actions();

  // ---- From the application. Channel 0 is not the application's. ----
  // The channel is ours (then send OpenChannel) or the peer's OpenChannel was accepted. False:
  // known already, was closed, or too many.
  [[nodiscard]] bool add_channel(std::uint32_t channel, Instant now);
  // Gone for good, refused or broken: what it holds is dropped, and the peer hears why.
  void abort_channel(std::uint32_t channel, std::string code, std::string message, Instant now);
  [[nodiscard]] std::size_t write(std::uint32_t channel, std::string_view bytes, Instant now);
  [[nodiscard]] std::size_t room(std::uint32_t channel) const;
  void want_room(std::uint32_t channel);  // Writable when there is some again.
  void finish(std::uint32_t channel, Instant now);
  [[nodiscard]] std::string_view readable(std::uint32_t channel) const;
  void consume(std::uint32_t channel, std::size_t bytes, Instant now);
  [[nodiscard]] bool at_end(std::uint32_t channel) const;
  void send_control(const pb::SessionControl& message, Instant now);
  // Asks the node for the tombstone, again on each new leg, until Ended.
  void request_end(std::string reason, Instant now);

  [[nodiscard]] bool has_channel(std::uint32_t channel) const;
  [[nodiscard]] std::size_t channels() const;  // Without channel 0.
  [[nodiscard]] bool control_drained() const;  // All that was said on channel 0 was acknowledged.
  [[nodiscard]] bool connected() const;        // Both ends have a leg.
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint64_t resumes() const { return resumes_; }  // After losses, so far.
  [[nodiscard]] std::uint64_t noticed() const { return noticed_; }  // Losses without a word (S4).
  [[nodiscard]] std::uint64_t generation_used() const { return legs_.generation_used(); }
  [[nodiscard]] const ChannelEnd* channel(std::uint32_t channel) const;  // For oracles and status.
  [[nodiscard]] SessionState state() const;
  void restore(const SessionState& state, Instant now);  // Before start().

 private:
  struct Slot;
  static constexpr Duration kResumeMax = std::chrono::milliseconds(300);
  static constexpr Duration kHoleMax = std::chrono::milliseconds(500);
  static constexpr Duration kAckDelay = std::chrono::milliseconds(100);
  static constexpr Duration kStallFirst = std::chrono::seconds(2);
  static constexpr Duration kStallMax = std::chrono::seconds(30);

  void on_control_frame(std::uint64_t leg, std::string_view message, Instant now);
  void on_attached(std::uint64_t leg, const pb::LinkMessage& message, Instant now);
  void on_refused(std::uint64_t leg, const pb::LinkMessage& message, Instant now);
  void on_peer_attached(bool lost, Instant now);
  void on_tombstone(const pb::LinkMessage& message);
  void on_data(const wire::Data& data, Instant now);
  void on_ack(const wire::Ack& ack, Instant now);
  void on_resume(const wire::Resume& resume, Instant now);
  void on_recorded(std::uint32_t channel, std::uint64_t durable, Instant now);
  void apply(const LegKeeper::Out& out, Instant now);

  void begin_resume(Instant now);
  void say_resume(Instant now);
  void ask_again(Instant now);  // resume for every channel, and what is kept is sent again at once
  void release_held();
  void read_control(Instant now);
  void on_channel_closed(const pb::SessionControl& message);
  void close_finished(Instant now);
  void drop_slot(std::uint32_t channel, std::string code, std::string message);
  void check_stalls(Instant now);

  void flush(Instant now);
  void flush_control();
  bool flush_data();  // Whether anything left.
  void flush_acks(bool with_data, Instant now);
  void send_resume(std::uint32_t channel, Slot& slot);
  void emit(std::uint64_t leg, const wire::Frame& frame);
  void emit_control(std::uint64_t leg, const pb::LinkMessage& message);
  void progress(Slot& slot, Instant now);
  void note_room(std::uint32_t channel, Slot& slot);
  void end(std::string code, std::string message);
  [[nodiscard]] Slot* find(std::uint32_t channel) const;
  [[nodiscard]] Slot* find_or_expect(std::uint32_t channel, Instant now);
  Slot& make_slot(std::uint32_t channel, Instant now);
  [[nodiscard]] bool peers_number(std::uint32_t channel) const;

  SessionOptions options_;
  LegKeeper legs_;
  std::map<std::uint32_t, std::unique_ptr<Slot>> slots_;
  std::uint32_t highest_opened_[2] = {0,
                                      0};  // By parity: what is at or below, and gone, was closed.
  std::string control_backlog_;
  std::vector<Action> actions_;
  bool peer_attached_ = false;
  bool peer_seen_ = false;
  Instant peer_away_since_;
  std::optional<Instant> resume_until_;
  std::optional<Instant> resume_said_at_;  // For every channel.
  std::uint64_t resumes_ = 0;
  std::uint64_t noticed_ = 0;
  std::optional<std::string> end_request_;
  std::uint64_t end_request_leg_ = 0;
  bool ended_ = false;
};

}  // namespace everspan::relay_end
