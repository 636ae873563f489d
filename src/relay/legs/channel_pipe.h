// Joins one channel of a session with descriptors: a PTY, a program's pipes, a TCP connection, or a
// console's own standard input and output. Back-pressure both ways: nothing is read that the ring
// has no room for, and nothing is consumed that the descriptor did not take.
//
// One executor. close() (or the end of the last shared_ptr) stops it; it must be closed before its
// EndDriver goes. Callbacks come from the loop, never from inside a call.
#pragma once
#include <sys/types.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "net/async.h"
#include "net/fd.h"
#include "relay/legs/end_driver.h"

namespace everspan::relay_legs {

struct PipeOptions {
  net::Fd from;  // Read into the channel. None: nothing is sent by this pipe.
  net::Fd to;    // Gets what comes. None: what comes is dropped.
  // The descriptors' open files are others' too (a shell's terminal): they are left blocking, and
  // little is written at a time.
  bool shared = false;
  bool socket = false;  // `to` is a socket: its end is said by shutdown(SHUT_WR).
  // In place of read(2) and write(2), for an owner that must know after a kill what was moved.
  std::function<ssize_t(int from, char* to, std::size_t size)> read;
  std::function<ssize_t(int to, std::string_view bytes)> write;
  // Bytes read, on their way into the channel; may change them.
  std::function<void(std::string&)> filter;
  std::function<void()> on_input_end;        // `from` has ended, FIN was put behind its last byte.
  std::function<void()> on_output_end;       // The channel's last byte was written, or dropped.
  std::function<void(int error)> on_broken;  // Writing failed (errno); the rest is dropped.
};

class ChannelPipe : public std::enable_shared_from_this<ChannelPipe> {
 public:
  static std::shared_ptr<ChannelPipe> start(net::Executor executor, EndDriver& driver,
                                            std::uint32_t channel, PipeOptions options);
  ~ChannelPipe();

  void on_readable();  // The channel has bytes, or its end.
  void on_writable();  // The channel has room.
  // Input ends here although `from` may go on: what it holds now is read, then FIN.
  void finish_after_rest();
  void close();
  [[nodiscard]] bool input_ended() const { return input_ended_; }
  [[nodiscard]] bool output_ended() const { return output_ended_; }

 private:
  using Descriptor = boost::asio::posix::stream_descriptor;
  ChannelPipe(net::Executor executor, EndDriver& driver, std::uint32_t channel,
              PipeOptions options);
  bool open(Descriptor& descriptor, net::Fd fd) const;
  void arm_read();
  void arm_write();
  void read_some();
  void take_input(std::string bytes);
  void end_input();
  void write_some();
  [[nodiscard]] bool write_pieces();  // False: it must wait.
  void break_output(int error);
  void check_output_end();

  net::Executor executor_;
  EndDriver& driver_;
  std::uint32_t channel_;
  PipeOptions options_;
  Descriptor from_;
  Descriptor to_;
  bool from_plain_ = false;
  bool to_plain_ = false;
  bool reading_ = false;
  bool writing_ = false;
  bool rest_only_ = false;
  bool input_ended_ = false;
  bool output_ended_ = false;
  bool closed_ = false;
  std::string pending_;  // Read, and changed to more than the ring had room for.
};

}  // namespace everspan::relay_legs
