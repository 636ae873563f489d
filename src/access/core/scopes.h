// Two areas of authority (the site, this appliance) and the scopes of each; what a caller may do.
// An identity of one area has no right in the other, whatever its scopes are called.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace everspan::access {

enum class Area : std::uint8_t { site, appliance };
[[nodiscard]] std::string_view area_name(Area area);
[[nodiscard]] Result<Area> parse_area(std::string_view name);

// site: sessions endpoints settings users upgrade audit failover; appliance: updates node upgrade.
[[nodiscard]] std::span<const std::string_view> scopes_of(Area area);
// Every scope is one of the area's, none twice.
[[nodiscard]] Result<void> check_scopes(Area area, const std::vector<std::string>& scopes);

struct Identity {
  Area area = Area::site;
  std::string account;
  std::vector<std::string> scopes;
};
// Code forbidden. An empty `scope` asks for the area only.
[[nodiscard]] Result<void> require(const Identity& who, Area area, std::string_view scope);

// What a grant may give at an endpoint: "terminal", "exec", "tunnel"; at least one, none twice.
[[nodiscard]] Result<void> check_rights(const std::vector<std::string>& rights);
[[nodiscard]] bool has_right(const std::vector<std::string>& rights, std::string_view right);

// Names of accounts and endpoints: 1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first.
[[nodiscard]] Result<void> check_name(std::string_view what, std::string_view name);
inline constexpr std::size_t kPasswordBytesMin = 8;
inline constexpr std::size_t kPasswordBytesMax = 1024;  // Argon2id reads all of it.
[[nodiscard]] Result<void> check_new_password(std::string_view password);

}  // namespace everspan::access
