#include "console/core/via.h"

#include <algorithm>
#include <optional>

#include "common/bytes.h"

namespace everspan::console {
namespace {

std::string address_of(const OfferedNode& node) {
  const bool brackets = node.host.find(':') != std::string::npos;
  return (brackets ? "[" + node.host + "]" : node.host) + ":" + std::to_string(node.port);
}

bool matches(std::string_view wanted, const OfferedNode& node) {
  if (wanted == address_of(node) || wanted == node.host) return true;
  if (wanted == "primary" || wanted == "backup") return wanted == node.role;
  return wanted.size() >= kNodePrefixBytesMin && node.node_id.starts_with(wanted);
}

std::string list_of(const std::vector<OfferedNode>& offered) {
  std::string out;
  for (const OfferedNode& node : offered) {
    out += (out.empty() ? "" : ", ") + address_of(node);
    if (!node.role.empty()) out += " (" + printable(node.role, 40) + ")";
  }
  return out.empty() ? "none" : out;
}

}  // namespace

Result<std::size_t> choose_node(std::string_view wanted, const std::vector<OfferedNode>& offered) {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < offered.size(); ++i) {
    if (!matches(wanted, offered[i])) continue;
    if (found)
      return fail("ambiguous", "\"" + printable(wanted, 80) + "\" names more than one node", "",
                  "The site offers: " + list_of(offered));
    found = i;
  }
  if (found) return *found;
  return fail("no_such_node", "The site has no node \"" + printable(wanted, 80) + "\"", "",
              "It offers: " + list_of(offered));
}

}  // namespace everspan::console
