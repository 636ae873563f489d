// Reads one direction of a session's control stream (channel 0: u32 length, SessionControl) as its
// bytes pass, in any order, and tells of channels opened. Pure.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace everspan::pb {
class ControlMark;
}

namespace everspan::recording {

// A control message is small; bytes that come early wait for those before them, up to this much.
inline constexpr std::size_t kControlMessageBytesMax = 64 * 1024;
inline constexpr std::size_t kControlEarlyBytesMax = 256 * 1024;

struct ControlNews {
  struct Opened {
    std::uint32_t channel = 0;
    std::string kind;
  };
  std::vector<Opened> opened;
  std::vector<std::uint32_t> closed;
  bool advanced = false;  // At least one whole message was read.
};

class ControlFollower {
 public:
  [[nodiscard]] ControlNews add(std::uint64_t offset, std::string_view bytes);
  // Takes the other's mark if it is further; then what waited is read.
  [[nodiscard]] ControlNews merge(const pb::ControlMark& mark);
  void mark(pb::ControlMark& out) const;
  [[nodiscard]] bool broken() const {
    return broken_;
  }  // A message was out of form; reads no more.

 private:
  void take_early();
  void read(ControlNews& news);
  [[nodiscard]] std::uint64_t end() const { return offset_ + tail_.size(); }

  std::uint64_t offset_ = 0;  // Number of tail_'s first byte.
  std::string tail_;
  std::map<std::uint64_t, std::string> early_;
  std::size_t early_bytes_ = 0;
  bool broken_ = false;
};

}  // namespace everspan::recording
