// A TLS connection whose records are ours (net/detail/tls_records.h): taken over from OpenSSL when
// its handshake is done. What is sealed or opened passes through buffers that all connections of a
// thread share; a connection holds only a cut record and what its socket did not take.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "net/detail/tls_records.h"
#include "net/transport.h"

namespace everspan::net::detail {

class RecordTransport final : public Transport {
 public:
  struct Parts {
    Fd fd;
    Address peer;
    Address local;
    std::string alpn;
    std::string root_pem;
    std::string early;  // Sealed bytes that came behind the handshake.
    TlsSecrets secrets;
    TlsRecords::Options options;
  };
  explicit RecordTransport(Parts parts);
  ~RecordTransport() override;

  IoResult read(std::span<std::uint8_t> into) override;
  IoResult write(std::span<const iovec> pieces) override;
  [[nodiscard]] bool has_buffered() const override { return more_to_read_; }
  bool send_close() override;
  void close() override;
  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] const Error& error() const override { return error_; }
  [[nodiscard]] std::string alpn() const override { return alpn_; }
  [[nodiscard]] std::string exporter(std::string_view label, std::size_t size) const override {
    return records_.exporter(label, size);
  }
  [[nodiscard]] Address peer() const override { return peer_; }
  [[nodiscard]] Address local() const override { return local_; }
  [[nodiscard]] const std::string& root_pem() const { return root_pem_; }

 private:
  // Sealed bytes at hand: kept ones and what one recv() gives.
  struct Sealed {
    std::span<const std::uint8_t> bytes;
    IoState state = IoState::done;  // want_read: nothing new; failed
    bool drained = false;
  };
  Sealed receive(std::size_t room);
  std::size_t open_one(std::span<const std::uint8_t>& sealed, std::span<std::uint8_t> into,
                       TlsRecords::Stop& stop);
  std::size_t take_opened(std::span<std::uint8_t> into);
  IoState send_sealed(std::span<const std::uint8_t> bytes);
  IoState broken(Error error);
  void send_alert();

  Fd fd_;
  Address peer_;
  Address local_;
  std::string alpn_;
  std::string root_pem_;
  TlsRecords records_;
  std::string sealed_;  // Received, not opened yet: less than a record, or what had no room.
  std::string opened_;  // Opened, but did not fit where it was asked for.
  std::string unsent_;  // Sealed records that the socket did not take yet; they go first.
  std::size_t held_bytes_ = 0;  // Of the owner's, inside unsent_, not yet said to have moved.
  Error error_;
  bool more_to_read_ = true;
  bool ended_ = false;  // close_notify came.
  bool broken_ = false;
  bool write_broken_ = false;
  bool close_sent_ = false;
};

}  // namespace everspan::net::detail
