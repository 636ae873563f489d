// The coroutine half of frame_link.h: before a link exists, and for what is not a link (HTTP).
#include <array>

#include "net/frame_link.h"
#include "net/socket.h"

namespace everspan::net {
namespace {

Error stop_reason(Instant deadline, const char* what) {
  if (now() >= deadline) return {"timeout", std::string(what) + " took too long", {}, {}};
  return {"cancelled", std::string(what) + " was cancelled", {}, {}};
}

Task<bool> wait_for(const Transport& transport, IoState state, Instant deadline) {
  if (state == IoState::want_write) return wait_writable(transport.fd(), deadline);
  return wait_readable(transport.fd(), deadline);
}

bool waits(IoState state) {
  return state == IoState::want_read || state == IoState::want_write;
}

}  // namespace

Task<Result<std::string>> read_some(Transport& transport, std::size_t bytes_max, Instant deadline) {
  std::string out(bytes_max, '\0');
  for (;;) {
    const IoResult result =
        transport.read({reinterpret_cast<std::uint8_t*>(out.data()), out.size()});
    if (result.state == IoState::failed) co_return std::unexpected(transport.error());
    if (!waits(result.state)) {
      out.resize(result.state == IoState::eof ? 0 : result.bytes);
      co_return out;
    }
    const bool ready = co_await wait_for(transport, result.state, deadline);
    if (!ready) co_return std::unexpected(stop_reason(deadline, "Reading"));
  }
}

Task<Result<void>> write_all(Transport& transport, std::string bytes, Instant deadline) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const iovec piece{bytes.data() + written, bytes.size() - written};
    const IoResult result = transport.write({&piece, 1});
    if (result.state == IoState::done) {
      written += result.bytes;
      continue;
    }
    if (!waits(result.state)) co_return std::unexpected(transport.error());
    const bool ready = co_await wait_for(transport, result.state, deadline);
    if (!ready) co_return std::unexpected(stop_reason(deadline, "Writing"));
  }
  co_return Result<void>{};
}

Task<Result<std::string>> read_control(Transport& transport, std::string& early,
                                       std::size_t bytes_max, Instant deadline) {
  constexpr std::size_t kReadBytes = 16 * 1024;
  for (;;) {
    // Judged by its header, so that nobody makes us keep more than a greeting.
    if (early.size() >= wire::kFrameHeaderBytes) {
      if (get_u32(as_bytes(early).data()) > bytes_max + 1) {
        co_return fail("too_long", "The greeting is too long");
      }
      if (static_cast<wire::FrameType>(early[4]) != wire::FrameType::control) {
        co_return fail("bad_frame", "The link does not begin with a greeting");
      }
      std::size_t size = 0;
      const auto frame = wire::parse_frame(early, size);
      if (!frame) co_return fail(frame);
      if (frame->has_value()) {
        std::string message(std::get<wire::Control>(**frame).message);
        early.erase(0, size);
        co_return message;
      }
    }
    const auto more = co_await read_some(transport, kReadBytes, deadline);
    if (!more) co_return fail(more);
    if (more->empty()) co_return fail("closed", "The other end closed the link");
    early += *more;
  }
}

}  // namespace everspan::net
