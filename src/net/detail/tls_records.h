// The TLS 1.3 record layer of one connection after its handshake (RFC 8446 parts 4.6, 5 and 7.2).
// No I/O: sealed bytes in, plain bytes out, and the reverse; the transport owns sockets and
// buffers.
//
// Invariants
//   L1  No byte of a record is given before its tag was checked; after the first error nothing is.
//   L2  A record number is used once under one key; keys change at kRecordsPerKey, far below
//       AES-GCM's limit of 2^24.5 records.
//   L3  The peer's KeyUpdate that asks for ours is answered before the next data of ours.
//   L4  After close_notify nothing is read (what follows is not ours to judge), and nothing is
//       written after our own.
//
// Post-handshake: KeyUpdate is followed, NewSessionTicket is left unread (we never resume),
// anything else is an error, as are renegotiation, change_cipher_spec and plain text. A peer that
// sends more than kIdleRecordsMax records in a row without data is cut off: they cost us more than
// him.
//
// One thread at a time. Errors have the code "tls"; `alert` says what to send with it.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "common/result.h"
#include "net/detail/aead.h"
#include "net/detail/tls_secrets.h"

namespace everspan::net {

inline constexpr std::size_t kRecordHeaderBytes = 5;
inline constexpr std::size_t kRecordContentMax = 1U << 14;
inline constexpr std::size_t kRecordOverhead = kRecordHeaderBytes + 1 + kTagBytes;
inline constexpr std::size_t kSealedRecordMax = kRecordHeaderBytes + kRecordContentMax + 256;
inline constexpr unsigned kIdleRecordsMax = 32;

class TlsRecords {
 public:
  struct Options {
    bool is_server = false;
    AeadMaker maker = AeadMaker::best;
    std::uint64_t records_per_key = 1ULL << 23;
    std::uint64_t records_sealed = 0;  // By the handshake, with the first key (session tickets).
  };
  TlsRecords(TlsSecrets secrets, const Options& options);

  enum class Stop : std::uint8_t {
    need_more,  // What is left of `sealed` is no whole record.
    need_room,  // The next record needs more room than is left.
    closed,     // close_notify came.
    failed,     // error()
  };
  struct Opened {
    std::size_t used = 0;   // Of `sealed`
    std::size_t bytes = 0;  // Plain bytes written
    Stop stop = Stop::need_more;
  };
  // Opens whole records at the front of `sealed` to `into`, which must not overlap it. What lies
  // behind `bytes` in `into` may be changed too.
  [[nodiscard]] Opened open(std::span<const std::uint8_t> sealed, std::span<std::uint8_t> into);
  [[nodiscard]] const Error& error() const { return error_; }

  // Bytes that seal_data() may need for so much content (at most kRecordContentMax): a KeyUpdate
  // may go before it.
  [[nodiscard]] static constexpr std::size_t room_for(std::size_t content) {
    return content + 2 * kRecordOverhead + kKeyUpdateBytes;
  }
  // Writes one record, and before it a KeyUpdate where one is due; gives the bytes written.
  // `content` may lie at content_place(out).
  std::size_t seal_data(std::span<const std::uint8_t> content, std::uint8_t* out);
  // Where content can be put to be sealed in place: what is due goes first, and is counted here.
  [[nodiscard]] bool update_due() const;
  std::size_t seal_update(std::uint8_t* out);
  // close_notify; or, after an error, what the peer is to be told (0 bytes: nothing).
  std::size_t seal_close(std::uint8_t* out);
  std::size_t seal_error(std::uint8_t* out);
  static constexpr std::size_t kAlertRoom = 2 + kRecordOverhead;

  [[nodiscard]] std::string exporter(std::string_view label, std::size_t size) const;

 private:
  static constexpr std::size_t kKeyUpdateBytes = 5;
  struct Side {
    TlsSecret secret;
    TrafficKey key;
    std::uint64_t id = 0;        // Of the key, for Aead::use_key
    std::uint64_t sequence = 0;  // Of the next record under this key
  };
  void install(Side& side, TlsSecret secret);
  std::size_t seal(std::uint8_t type, std::span<const std::uint8_t> content, std::uint8_t* out);
  Stop take(std::uint8_t type, std::span<const std::uint8_t> content);
  Stop take_alert(std::span<const std::uint8_t> content);
  Stop take_handshake(std::span<const std::uint8_t> content);
  Stop broken(std::uint8_t alert, const char* what);

  Options options_;
  TlsSuite suite_;
  TlsSecret exporter_;
  Side reading_;
  Side writing_;
  std::string handshake_;  // A message that is cut between records.
  Error error_;
  std::optional<std::uint8_t> alert_;
  unsigned idle_records_ = 0;
  bool update_asked_ = false;
  bool closed_ = false;
};

}  // namespace everspan::net
