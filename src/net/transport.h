// A non-blocking byte stream over one descriptor: TLS 1.3 over TCP, or plain over a Unix socket.
// Reads and writes never wait; who drives it waits for readiness (FrameLink, Connection).
//
// This is our own TLS stream (DESIGN section 5, data path): OpenSSL with read-ahead, gathered
// writes and released buffers; neither asio::ssl::stream nor Beast.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/result.h"
#include "net/address.h"
#include "net/fd.h"

namespace everspan::net {

enum class IoState : std::uint8_t {
  done,        // `bytes` moved (more than 0, or an empty request)
  want_read,   // wait until the descriptor is readable, then call again
  want_write,  // wait until it is writable
  eof,         // the peer closed in order (close_notify)
  failed,      // broken; `error()` says how. A TCP end without close_notify is `failed`, code "cut"
};
struct IoResult {
  IoState state = IoState::failed;
  std::size_t bytes = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  [[nodiscard]] virtual IoResult read(std::span<std::uint8_t> into) = 0;
  // May move fewer bytes than given. After want_*, the same bytes must be offered again (they may
  // lie elsewhere in memory).
  [[nodiscard]] virtual IoResult write(std::span<const iovec> pieces) = 0;
  // True if read() may have more to say (bytes, or the end) without the descriptor being readable.
  // False after a read that moved fewer bytes than asked: wait until it is readable.
  [[nodiscard]] virtual bool has_buffered() const = 0;
  virtual void close() = 0;  // Sends close_notify if it can without waiting, then close(2).
  // Says that nothing more will be written (close_notify) and stays open for reading. False: there
  // is no such word here, or it could not be sent now.
  virtual bool send_close() { return false; }
  [[nodiscard]] virtual int fd() const = 0;
  [[nodiscard]] virtual const Error& error() const = 0;

  [[nodiscard]] virtual std::string alpn() const { return {}; }
  // RFC 5705/9266 keying material; empty when there is no TLS (then the peer is proved otherwise).
  [[nodiscard]] virtual std::string exporter(std::string_view label, std::size_t size) const {
    return {};
  }
  [[nodiscard]] virtual Address peer() const { return {}; }
  [[nodiscard]] virtual Address local() const { return {}; }
};

// Over a connected stream socket, made non-blocking here.
[[nodiscard]] std::unique_ptr<Transport> plain_transport(Fd socket);

}  // namespace everspan::net
