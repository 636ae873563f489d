#include "net/detail/tls_records.h"

#include <array>
#include <atomic>
#include <cstring>
#include <utility>

#include "common/bytes.h"
#include "common/check.h"

namespace everspan::net {
namespace {

constexpr std::uint8_t kTypeAlert = 21;
constexpr std::uint8_t kTypeHandshake = 22;
constexpr std::uint8_t kTypeData = 23;

constexpr std::uint8_t kAlertCloseNotify = 0;
constexpr std::uint8_t kAlertUnexpectedMessage = 10;
constexpr std::uint8_t kAlertBadRecordMac = 20;
constexpr std::uint8_t kAlertRecordOverflow = 22;
constexpr std::uint8_t kAlertIllegalParameter = 47;
constexpr std::uint8_t kAlertDecodeError = 50;
constexpr std::uint8_t kAlertUserCanceled = 90;

constexpr std::uint8_t kNewSessionTicket = 4;
constexpr std::uint8_t kKeyUpdate = 24;
constexpr std::size_t kHandshakeHeaderBytes = 4;
constexpr std::size_t kHandshakeBytesMax = 16 * 1024;  // A ticket is far smaller.

std::uint64_t next_key_id() {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

std::array<std::uint8_t, 12> nonce_of(const TrafficKey& key, std::uint64_t sequence) {
  std::array<std::uint8_t, 12> nonce = key.iv;
  for (int i = 0; i < 8; ++i) nonce[11 - i] ^= static_cast<std::uint8_t>(sequence >> (8 * i));
  return nonce;
}

void write_header(std::uint8_t* out, std::size_t sealed) {
  out[0] = kTypeData;
  out[1] = 3;
  out[2] = 3;
  out[3] = static_cast<std::uint8_t>(sealed >> 8);
  out[4] = static_cast<std::uint8_t>(sealed);
}

}  // namespace

TlsRecords::TlsRecords(TlsSecrets secrets, const Options& options)
    : options_(options), suite_(secrets.suite), exporter_(std::move(secrets.exporter)) {
  install(reading_, std::move(options.is_server ? secrets.client : secrets.server));
  install(writing_, std::move(options.is_server ? secrets.server : secrets.client));
  writing_.sequence = options.records_sealed;
}

void TlsRecords::install(Side& side, TlsSecret secret) {
  side.secret = std::move(secret);
  derive_key(suite_, side.secret, side.key);
  side.id = next_key_id();
  side.sequence = 0;
}

// ---- Opening ----

TlsRecords::Opened TlsRecords::open(std::span<const std::uint8_t> sealed,
                                    std::span<std::uint8_t> into) {
  Opened out;
  if (closed_) return {0, 0, Stop::closed};
  if (!error_.code.empty()) return {0, 0, Stop::failed};
  Aead& aead = thread_aead(options_.maker, false);
  for (;;) {
    const auto rest = sealed.subspan(out.used);
    if (rest.size() < kRecordHeaderBytes) return out;
    const std::size_t size = std::size_t{rest[3]} << 8 | rest[4];
    // The record's version is to be ignored (RFC 8446 part 5.1).
    if (rest[0] != kTypeData) {
      out.stop = broken(kAlertUnexpectedMessage, "a record is not encrypted");
      return out;
    }
    if (size > kSealedRecordMax - kRecordHeaderBytes) {
      out.stop = broken(kAlertRecordOverflow, "a record is too long");
      return out;
    }
    if (size < kTagBytes + 1) {
      out.stop = broken(kAlertDecodeError, "a record is too short");
      return out;
    }
    if (rest.size() < kRecordHeaderBytes + size) return out;
    const std::size_t inner = size - kTagBytes;
    std::uint8_t* const place = into.data() + out.bytes;
    if (into.size() - out.bytes < inner) {
      out.stop = Stop::need_room;
      return out;
    }
    aead.use_key(suite_, reading_.key, reading_.id);
    const auto nonce = nonce_of(reading_.key, reading_.sequence++);
    if (!aead.open(nonce, rest.first(kRecordHeaderBytes), rest.subspan(kRecordHeaderBytes, size),
                   place)) {
      out.stop = broken(kAlertBadRecordMac, "a record is not authentic");
      return out;
    }
    out.used += kRecordHeaderBytes + size;
    std::size_t content = inner;  // Behind it: the type, then padding of zeros.
    while (content > 0 && place[content - 1] == 0) --content;
    if (content == 0) {
      out.stop = broken(kAlertUnexpectedMessage, "a record has no type");
      return out;
    }
    const std::uint8_t type = place[--content];
    if (content > kRecordContentMax) {
      out.stop = broken(kAlertRecordOverflow, "a record holds too much");
      return out;
    }
    if (type == kTypeData && content > 0 && handshake_.empty()) {
      idle_records_ = 0;
      out.bytes += content;
      continue;
    }
    const Stop stop = take(type, {place, content});
    if (stop != Stop::need_more) {
      out.stop = stop;
      return out;
    }
  }
}

TlsRecords::Stop TlsRecords::take(std::uint8_t type, std::span<const std::uint8_t> content) {
  if (++idle_records_ > kIdleRecordsMax)
    return broken(kAlertUnexpectedMessage, "too many records without data");
  if (type != kTypeHandshake && !handshake_.empty())
    return broken(kAlertUnexpectedMessage, "a message is cut by other records");
  if (type == kTypeData) return Stop::need_more;
  if (type == kTypeHandshake) return take_handshake(content);
  if (type == kTypeAlert) return take_alert(content);
  return broken(kAlertUnexpectedMessage, "a record has an unknown type");
}

TlsRecords::Stop TlsRecords::take_alert(std::span<const std::uint8_t> content) {
  if (content.size() != 2) return broken(kAlertDecodeError, "an alert is out of form");
  if (content[1] == kAlertCloseNotify) {
    closed_ = true;
    return Stop::closed;
  }
  if (content[1] == kAlertUserCanceled) return Stop::need_more;
  error_ = {"tls",
            "The peer ended TLS with alert " + std::to_string(static_cast<unsigned>(content[1])),
            {},
            {}};
  return Stop::failed;  // An alert is not answered.
}

TlsRecords::Stop TlsRecords::take_handshake(std::span<const std::uint8_t> content) {
  if (content.empty()) return broken(kAlertUnexpectedMessage, "a handshake record is empty");
  handshake_ += as_text(content);
  std::size_t used = 0;
  while (handshake_.size() - used >= kHandshakeHeaderBytes) {
    const auto* at = reinterpret_cast<const std::uint8_t*>(handshake_.data()) + used;
    const std::size_t size = std::size_t{at[1]} << 16 | std::size_t{at[2]} << 8 | at[3];
    if (size > kHandshakeBytesMax) return broken(kAlertDecodeError, "a message is too long");
    const bool ticket = at[0] == kNewSessionTicket && !options_.is_server;
    if (at[0] != kKeyUpdate && !ticket)
      return broken(kAlertUnexpectedMessage, "a handshake message is out of place");
    if (handshake_.size() - used < kHandshakeHeaderBytes + size) break;
    used += kHandshakeHeaderBytes + size;
    if (ticket) continue;
    if (size != 1) return broken(kAlertDecodeError, "a key change is out of form");
    if (at[4] > 1) return broken(kAlertIllegalParameter, "a key change is out of form");
    // The next byte would be under the new key: it cannot be in this record.
    if (used != handshake_.size())
      return broken(kAlertUnexpectedMessage, "a key change is not the last of its record");
    update_asked_ |= at[4] == 1;
    install(reading_, next_generation(suite_, reading_.secret));
  }
  handshake_.erase(0, used);
  if (handshake_.empty()) handshake_.shrink_to_fit();
  return Stop::need_more;
}

TlsRecords::Stop TlsRecords::broken(std::uint8_t alert, const char* what) {
  error_ = {"tls", std::string("The peer broke the TLS protocol: ") + what, {}, {}};
  alert_ = alert;
  return Stop::failed;
}

// ---- Sealing ----

std::size_t TlsRecords::seal(std::uint8_t type, std::span<const std::uint8_t> content,
                             std::uint8_t* out) {
  check(content.size() <= kRecordContentMax, "a record holds 16 KiB");
  const std::size_t sealed = content.size() + 1 + kTagBytes;
  write_header(out, sealed);
  Aead& aead = thread_aead(options_.maker, true);
  aead.use_key(suite_, writing_.key, writing_.id);
  const auto nonce = nonce_of(writing_.key, writing_.sequence++);
  aead.seal(nonce, {out, kRecordHeaderBytes}, content, type, out + kRecordHeaderBytes);
  return kRecordHeaderBytes + sealed;
}

bool TlsRecords::update_due() const {
  return update_asked_ || writing_.sequence >= options_.records_per_key;
}

std::size_t TlsRecords::seal_update(std::uint8_t* out) {
  constexpr std::array<std::uint8_t, kKeyUpdateBytes> kMessage{kKeyUpdate, 0, 0, 1, 0};
  const std::size_t size = seal(kTypeHandshake, kMessage, out);
  update_asked_ = false;
  install(writing_, next_generation(suite_, writing_.secret));
  return size;
}

std::size_t TlsRecords::seal_data(std::span<const std::uint8_t> content, std::uint8_t* out) {
  std::size_t size = 0;
  if (update_due()) size = seal_update(out);
  return size + seal(kTypeData, content, out + size);
}

std::size_t TlsRecords::seal_close(std::uint8_t* out) {
  constexpr std::array<std::uint8_t, 2> kWarning{1, kAlertCloseNotify};
  return seal(kTypeAlert, kWarning, out);
}

std::size_t TlsRecords::seal_error(std::uint8_t* out) {
  const auto alert = std::exchange(alert_, std::nullopt);
  if (!alert) return 0;
  const std::array<std::uint8_t, 2> fatal{2, *alert};
  return seal(kTypeAlert, fatal, out);
}

std::string TlsRecords::exporter(std::string_view label, std::size_t size) const {
  return tls_exporter(suite_, exporter_, label, size);
}

}  // namespace everspan::net
