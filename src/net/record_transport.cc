#include "net/detail/record_transport.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/bytes.h"
#include "net/detail/drain.h"
#include "net/detail/gather.h"

namespace everspan::net::detail {
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;   // Of one recv(): larger ones give nothing more.
constexpr std::size_t kWriteBytes = 256 * 1024;  // Of one send().

// All connections of a thread use these, one after another; nothing stays in them.
std::span<std::uint8_t> shared_input() {
  constexpr std::size_t kBytes = kReadBytes + kSealedRecordMax;
  thread_local const auto buffer = std::make_unique<std::uint8_t[]>(kBytes);
  return {buffer.get(), kBytes};
}
std::uint8_t* shared_output() {
  thread_local const auto buffer =
      std::make_unique<std::uint8_t[]>(kWriteBytes + TlsRecords::room_for(kRecordContentMax));
  return buffer.get();
}
std::span<std::uint8_t> shared_record() {
  thread_local const auto buffer = std::make_unique<std::uint8_t[]>(kSealedRecordMax);
  return {buffer.get(), kSealedRecordMax};
}

bool holds_a_record(std::string_view sealed) {
  const auto* at = reinterpret_cast<const std::uint8_t*>(sealed.data());
  return sealed.size() >= kRecordHeaderBytes &&
         sealed.size() >= kRecordHeaderBytes + (std::size_t{at[3]} << 8 | at[4]);
}

Error cut_by(int error) {
  if (error != 0) return fail_errno("cut", "The connection broke", error).error();
  return {"cut", "The connection ended without a closing word", {}, {}};
}

}  // namespace

RecordTransport::RecordTransport(Parts parts)
    : fd_(std::move(parts.fd)),
      peer_(std::move(parts.peer)),
      local_(std::move(parts.local)),
      alpn_(std::move(parts.alpn)),
      root_pem_(std::move(parts.root_pem)),
      records_(std::move(parts.secrets), parts.options),
      sealed_(std::move(parts.early)) {}

RecordTransport::~RecordTransport() {
  close();
}

IoState RecordTransport::broken(Error error) {
  if (error_.code.empty()) error_ = std::move(error);
  broken_ = true;
  return IoState::failed;
}

// ---- Reading ----

std::size_t RecordTransport::take_opened(std::span<std::uint8_t> into) {
  const std::size_t size = std::min(into.size(), opened_.size());
  std::memcpy(into.data(), opened_.data(), size);
  opened_.erase(0, size);
  if (opened_.empty()) opened_.shrink_to_fit();
  return size;
}

// As much as can be opened to `room` bytes: opened bytes are always fewer than sealed ones.
RecordTransport::Sealed RecordTransport::receive(std::size_t room) {
  const std::span<std::uint8_t> buffer = shared_input();
  const std::size_t kept = sealed_.size();
  std::memcpy(buffer.data(), sealed_.data(), std::min(kept, buffer.size()));
  Sealed out{.bytes = buffer.first(kept)};
  if (holds_a_record(sealed_)) return out;
  const std::size_t wanted =
      std::min(std::max(room, kSealedRecordMax), kReadBytes + kSealedRecordMax) - kept;
  ssize_t got = -1;
  do {
    got = recv(fd_.get(), buffer.data() + kept, wanted, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    out.bytes = buffer.first(kept + static_cast<std::size_t>(got));
    out.drained = static_cast<std::size_t>(got) < wanted;
  } else if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    out.state = IoState::want_read;
  } else {
    out.state = broken(cut_by(got < 0 ? errno : 0));
  }
  return out;
}

// A record that has no room where the owner wants it: through a buffer of its own.
std::size_t RecordTransport::open_one(std::span<const std::uint8_t>& sealed,
                                      std::span<std::uint8_t> into, TlsRecords::Stop& stop) {
  const std::size_t size = kRecordHeaderBytes + (std::size_t{sealed[3]} << 8 | sealed[4]);
  const std::span<std::uint8_t> record = shared_record();
  const TlsRecords::Opened one = records_.open(sealed.first(size), record);
  sealed = sealed.subspan(one.used);
  stop = one.stop;
  const std::size_t fits = std::min(one.bytes, into.size());
  std::memcpy(into.data(), record.data(), fits);
  opened_ = as_text(record.first(one.bytes).subspan(fits));
  return fits;
}

IoResult RecordTransport::read(std::span<std::uint8_t> into) {
  if (into.empty()) return {IoState::done, 0};
  if (!fd_) return {IoState::failed, 0};
  if (!opened_.empty()) {
    more_to_read_ = true;
    return {IoState::done, take_opened(into)};
  }
  if (ended_) return {IoState::eof, 0};
  if (broken_) return {IoState::failed, 0};
  for (;;) {
    const Sealed sealed = receive(into.size());
    if (sealed.state != IoState::done) {
      more_to_read_ = sealed.state != IoState::want_read;
      return {sealed.state, 0};
    }
    const TlsRecords::Opened opened = records_.open(sealed.bytes, into);
    std::size_t filled = opened.bytes;
    auto rest = sealed.bytes.subspan(opened.used);
    TlsRecords::Stop stop = opened.stop;
    if (stop == TlsRecords::Stop::need_room && filled == 0) filled = open_one(rest, into, stop);
    sealed_.assign(as_text(rest));
    if (sealed_.empty()) sealed_.shrink_to_fit();
    const bool nothing_left =
        stop == TlsRecords::Stop::need_more && opened_.empty() && !holds_a_record(sealed_);
    more_to_read_ = !(nothing_left && sealed.drained);
    if (stop == TlsRecords::Stop::closed) {
      ended_ = true;
    } else if (stop == TlsRecords::Stop::failed) {
      broken(records_.error());
      send_alert();
    }
    // An end or error behind good bytes stays, and the next call returns it.
    if (filled > 0) return {IoState::done, filled};
    if (ended_) return {IoState::eof, 0};
    if (broken_) return {IoState::failed, 0};
    if (!more_to_read_) return {IoState::want_read, 0};
  }
}

// ---- Writing ----

// want_write: the rest lies in unsent_. A broken socket ends writing only: the peer's last words
// may still be unread.
IoState RecordTransport::send_sealed(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    } else if (errno != EINTR) {
      if (error_.code.empty()) error_ = cut_by(errno);
      write_broken_ = true;
      return IoState::failed;
    }
  }
  std::string rest(as_text(bytes));
  unsent_ = std::move(rest);  // Nothing is kept of an empty one.
  return unsent_.empty() ? IoState::done : IoState::want_write;
}

// Seals as many records as make one send() worth its while. If the socket does not take them all,
// the last one's bytes are not said to have moved: the owner offers them again when it can write.
IoResult RecordTransport::write(std::span<const iovec> pieces) {
  const std::size_t size = total_size(pieces);
  if (size == 0) return {IoState::done, 0};
  if (broken_ || write_broken_ || close_sent_ || !fd_) return {IoState::failed, 0};
  if (!unsent_.empty()) {
    const std::string unsent = std::exchange(unsent_, {});
    const IoState state = send_sealed(as_bytes(unsent));
    if (state != IoState::done) return {state, 0};
  }
  std::size_t moved = std::exchange(held_bytes_, 0);
  std::uint8_t* const out = shared_output();
  std::size_t sealed = 0;
  std::size_t last = 0;
  while (moved < size && sealed < kWriteBytes) {
    const auto content = gather(pieces, moved, kRecordContentMax);
    sealed += records_.seal_data(content, out + sealed);
    last = content.size();
    moved += last;
  }
  const IoState sent = send_sealed({out, sealed});
  if (sent == IoState::failed) return {IoState::failed, 0};
  if (sent == IoState::want_write && last > 0) {
    held_bytes_ = last;
    moved -= last;
  }
  if (moved > 0) return {IoState::done, moved};
  return {sent, 0};
}

void RecordTransport::send_alert() {
  if (write_broken_ || close_sent_ || !fd_ || !unsent_.empty()) return;
  std::uint8_t out[TlsRecords::kAlertRoom];
  const std::size_t size = records_.seal_error(out);
  if (size > 0) (void)send(fd_.get(), out, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  close_sent_ = true;  // Nothing comes behind an alert.
}

bool RecordTransport::send_close() {
  if (close_sent_) return !broken_;
  // Behind half a record a close_notify would be garbage.
  if (broken_ || write_broken_ || !fd_ || !unsent_.empty()) return false;
  std::uint8_t out[TlsRecords::kAlertRoom];
  const std::size_t size = records_.seal_close(out);
  close_sent_ = true;
  const ssize_t sent = send(fd_.get(), out, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(size)) return true;
  write_broken_ = true;  // Its number is used: nothing can come behind it.
  return false;
}

void RecordTransport::close() {
  if (!fd_) return;
  send_close();
  drain_before_close(fd_.get());
  fd_.reset();
  if (error_.code.empty()) error_ = Error{"closed", "The connection was closed here", {}, {}};
}

}  // namespace everspan::net::detail
