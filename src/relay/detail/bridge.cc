#include "relay/detail/bridge.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <optional>
#include <utility>

#include "common/bytes.h"
#include "common/version.h"
#include "proto/bridge.pb.h"

namespace everspan::relay {
namespace asio = boost::asio;
namespace {

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::string_view kNoKey("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", kBridgeKeyBytes);

void append_head(std::string& out, BridgeKind kind, std::string_view key, std::size_t body) {
  put_u32(out, static_cast<std::uint32_t>(1 + kBridgeKeyBytes + body));
  out.push_back(static_cast<char>(kind));
  out += key;
}

}  // namespace

Result<std::optional<BridgeRecord>> parse_bridge(std::string_view bytes, std::size_t& size) {
  if (bytes.size() < 4) return std::nullopt;
  const std::size_t length = get_u32(as_bytes(bytes).data());
  if (length < 1 + kBridgeKeyBytes || length > kBridgeRecordBytesMax)
    return fail("bad_bridge", "The other site process sent a record of an impossible size");
  if (bytes.size() < 4 + length) return std::nullopt;
  const auto kind = static_cast<std::uint8_t>(bytes[4]);
  if (kind != 1 && kind != 2)
    return fail("bad_bridge", "The other site process sent a record of an unknown kind");
  size = 4 + length;
  return BridgeRecord{static_cast<BridgeKind>(kind), bytes.substr(5, kBridgeKeyBytes),
                      bytes.substr(5 + kBridgeKeyBytes, length - 1 - kBridgeKeyBytes)};
}

void append_bridge_message(std::string& out, std::string_view key,
                           const pb::BridgeMessage& message) {
  const auto body = message.SerializeAsString();
  append_head(out, BridgeKind::message, key, body.size());
  out += body;
}

void append_bridge_frame(std::string& out, std::string_view session, Side side,
                         std::string_view frame) {
  append_head(out, BridgeKind::frame, session, 1 + frame.size());
  out.push_back(static_cast<char>(side));
  out += frame;
}

struct Bridge::State : std::enable_shared_from_this<Bridge::State> {
  State(net::Executor e, Events given)
      : executor(e), stream(std::move(e)), events(std::move(given)) {}

  net::Executor executor;
  asio::local::stream_protocol::socket stream;  // A socket: its writes raise no SIGPIPE.
  Events events;
  std::string unread;   // A cut record
  std::string waiting;  // To be written after `writing`
  std::string writing;
  bool greeted = false;
  bool closed = false;
  bool high = false;
  std::string buffer = std::string(kReadBytes, '\0');

  void read();
  void on_read(std::size_t bytes);
  void write();
  void press();
  void end(const Error& why);
  [[nodiscard]] Result<std::string> take_records();
};

void Bridge::State::read() {
  stream.async_read_some(
      asio::buffer(buffer),
      [self = shared_from_this()](boost::system::error_code error, std::size_t bytes) {
        if (self->closed) return;
        if (error) return self->end({"closed", "The other site process is gone", {}, {}});
        self->on_read(bytes);
      });
}

void Bridge::State::on_read(std::size_t bytes) {
  unread.append(buffer.data(), bytes);
  auto records = take_records();
  if (!records) return end(records.error());
  if (!records->empty()) events.on_records(std::move(*records));
  if (!closed) read();
}

// Whole records out of `unread`; the first ever is the hello.
Result<std::string> Bridge::State::take_records() {
  std::size_t used = 0;
  std::size_t begin = 0;
  for (;;) {
    std::size_t size = 0;
    const auto record = parse_bridge(std::string_view(unread).substr(used), size);
    if (!record) return fail(record);
    if (!*record) break;
    used += size;
    if (greeted) continue;
    pb::BridgeMessage message;
    const auto body = (*record)->body;
    if ((*record)->kind != BridgeKind::message ||
        !message.ParseFromArray(body.data(), static_cast<int>(body.size())) ||
        message.hello().protocol() < kBridgeProtocol)
      return fail("bad_bridge", "The other site process did not say hello");
    greeted = true;
    begin = used;
  }
  std::string records = unread.substr(begin, used - begin);
  unread.erase(0, used);
  return records;
}

void Bridge::State::write() {
  if (closed || !writing.empty() || waiting.empty()) return;
  writing.swap(waiting);
  asio::async_write(stream, asio::buffer(writing),
                    [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                      if (self->closed) return;
                      // What the other process sent before it broke is still read: the reader ends.
                      if (error) return;
                      self->writing.clear();
                      self->press();
                      self->write();
                    });
}

void Bridge::State::press() {
  const auto pending = waiting.size() + writing.size();
  if (!high && pending > kHighWater) {
    high = true;
    events.on_pressure(true);
  } else if (high && pending < kLowWater) {
    high = false;
    events.on_pressure(false);
  }
}

void Bridge::State::end(const Error& why) {
  if (std::exchange(closed, true)) return;
  boost::system::error_code ignored;  // Closing: nothing is left to be done about it.
  stream.close(ignored);
  events.on_closed(why);
}

Bridge::Bridge(net::Executor executor, net::Fd fd, Events events, std::string node_id)
    : state_(std::make_shared<State>(std::move(executor), std::move(events))) {
  state_->stream.assign(asio::local::stream_protocol(), fd.release());
  pb::BridgeMessage message;
  message.mutable_hello()->set_protocol(kBridgeProtocol);
  message.mutable_hello()->set_release(std::string(program_version()));
  message.mutable_hello()->set_node_id(node_id);
  append_bridge_message(state_->waiting, kNoKey, message);
}

Bridge::~Bridge() {
  close();
}

void Bridge::start() {
  asio::post(state_->executor, [state = state_] {
    state->read();
    state->write();
  });
}

void Bridge::send(std::string records) {
  asio::post(state_->executor, [state = state_, records = std::move(records)] {
    if (state->closed) return;
    state->waiting += records;
    state->write();
    state->press();
  });
}

void Bridge::close() {
  asio::post(state_->executor, [state = state_] {
    if (std::exchange(state->closed, true)) return;
    boost::system::error_code ignored;  // Closing: nothing is left to be done about it.
    state->stream.close(ignored);
  });
}

}  // namespace everspan::relay
