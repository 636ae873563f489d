#include "site/records.h"

#include "access/core/grant.h"
#include "proto/records.pb.h"

namespace everspan::site {
namespace {
std::string of_node(const NodeId& node, std::string_view name) {
  return "appliance/" + node.hex() + "/" + std::string(name);
}
}  // namespace

std::string account_key(access::Area area, const NodeId& node, std::string_view name) {
  return area == access::Area::site ? "site/" + std::string(name) : of_node(node, name);
}

std::string appliance_setting_key(const NodeId& node, std::string_view name) {
  return of_node(node, name);
}

std::string lower_case(std::string_view ascii) {
  std::string out(ascii);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string recording_word(const pb::SessionRecord& session) {
  return session.recording_off() ? std::string(access::kRecordingOff) : session.recording();
}

}  // namespace everspan::site
