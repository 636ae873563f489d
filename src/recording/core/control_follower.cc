#include "recording/core/control_follower.h"

#include "common/bytes.h"
#include "proto/link.pb.h"
#include "proto/recording.pb.h"

namespace everspan::recording {

ControlNews ControlFollower::add(std::uint64_t offset, std::string_view bytes) {
  ControlNews news;
  if (broken_ || bytes.empty() || offset + bytes.size() <= end()) return news;
  if (offset > end()) {
    // Bounded: what does not fit is lost to the follower, and a later snapshot or nothing heals it;
    // channels without a kind are recorded with content.
    if (early_bytes_ + bytes.size() > kControlEarlyBytesMax) return news;
    auto& kept = early_[offset];
    if (bytes.size() > kept.size()) {
      early_bytes_ += bytes.size() - kept.size();
      kept = std::string(bytes);
    }
    return news;
  }
  tail_ += bytes.substr(end() - offset);
  take_early();
  read(news);
  return news;
}

void ControlFollower::take_early() {
  while (!early_.empty() && early_.begin()->first <= end()) {
    const auto node = early_.extract(early_.begin());
    early_bytes_ -= node.mapped().size();
    if (node.key() + node.mapped().size() > end())
      tail_ += std::string_view(node.mapped()).substr(end() - node.key());
  }
}

void ControlFollower::read(ControlNews& news) {
  std::size_t used = 0;
  while (tail_.size() - used >= 4) {
    const auto size = get_u32(reinterpret_cast<const std::uint8_t*>(tail_.data()) + used);
    if (size > kControlMessageBytesMax) {
      broken_ = true;
      break;
    }
    if (tail_.size() - used < 4 + size) break;
    pb::SessionControl message;
    if (!message.ParseFromArray(tail_.data() + used + 4, static_cast<int>(size))) {
      broken_ = true;
      break;
    }
    if (message.has_open()) {
      news.opened.push_back({message.open().channel(), message.open().kind()});
      if (message.open().error_channel() != 0)
        news.opened.push_back({message.open().error_channel(), message.open().kind()});
    }
    if (message.has_closed()) news.closed.push_back(message.closed().channel());
    used += 4 + size;
    news.advanced = true;
  }
  offset_ += used;
  tail_.erase(0, used);
}

ControlNews ControlFollower::merge(const pb::ControlMark& mark) {
  ControlNews news;
  if (mark.tail().size() > kControlMessageBytesMax + 4) return news;
  if (mark.offset() + mark.tail().size() <= end()) return news;
  offset_ = mark.offset();
  tail_ = mark.tail();
  broken_ = false;
  take_early();
  read(news);
  news.advanced = true;
  return news;
}

void ControlFollower::mark(pb::ControlMark& out) const {
  out.set_offset(offset_);
  out.set_tail(tail_);
}

}  // namespace everspan::recording
