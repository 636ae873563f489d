#include "access/core/scopes.h"

#include <algorithm>
#include <array>

#include "common/bytes.h"

namespace everspan::access {
namespace {

constexpr std::array<std::string_view, 7> kSiteScopes{"sessions", "endpoints", "settings", "users",
                                                      "upgrade",  "audit",     "failover"};
constexpr std::array<std::string_view, 3> kApplianceScopes{"updates", "node", "upgrade"};
constexpr std::array<std::string_view, 3> kRights{"terminal", "exec", "tunnel"};

template <class Known>
Result<void> check_words(const Known& known, const std::vector<std::string>& words,
                         const char* code, const char* what) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (std::ranges::find(known, words[i]) == std::ranges::end(known))
      return fail(code, std::string(what) + " \"" + printable(words[i], 40) + "\" is not known");
    if (std::find(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i), words[i]) !=
        words.begin() + static_cast<std::ptrdiff_t>(i))
      return fail(code, std::string(what) + " \"" + words[i] + "\" is given twice");
  }
  return {};
}

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

}  // namespace

std::string_view area_name(Area area) {
  return area == Area::site ? "site" : "appliance";
}

Result<Area> parse_area(std::string_view name) {
  if (name == "site") return Area::site;
  if (name == "appliance") return Area::appliance;
  return fail("bad_area", "The area is \"site\" or \"appliance\"");
}

std::span<const std::string_view> scopes_of(Area area) {
  if (area == Area::site) return kSiteScopes;
  return kApplianceScopes;
}

Result<void> check_scopes(Area area, const std::vector<std::string>& scopes) {
  return check_words(scopes_of(area), scopes, "bad_scope", "Scope");
}

Result<void> require(const Identity& who, Area area, std::string_view scope) {
  if (who.area != area)
    return fail(
        "forbidden",
        std::string("This needs an account of the area \"") + std::string(area_name(area)) + "\"",
        "", "Log in with --area " + std::string(area_name(area)));
  if (scope.empty() || std::ranges::find(who.scopes, scope) != who.scopes.end()) return {};
  return fail("forbidden",
              "The account " + who.account + " lacks the scope \"" + std::string(scope) + "\"", "",
              "Ask an administrator for it");
}

Result<void> check_rights(const std::vector<std::string>& rights) {
  if (rights.empty()) return fail("bad_rights", "A session needs at least one right");
  return check_words(kRights, rights, "bad_rights", "Right");
}

bool has_right(const std::vector<std::string>& rights, std::string_view right) {
  return std::ranges::find(kRights, right) != kRights.end() &&
         std::ranges::find(rights, right) != rights.end();
}

Result<void> check_name(std::string_view what, std::string_view name) {
  const bool good = !name.empty() && name.size() <= 63 && is_letter_or_digit(name.front()) &&
                    std::ranges::all_of(name, [](char c) {
                      return is_letter_or_digit(c) || c == '.' || c == '_' || c == '-';
                    });
  if (good) return {};
  return fail("bad_name", "The " + std::string(what) +
                              " must be 1 to 63 of A-Z a-z 0-9 . _ -, a letter or digit first");
}

Result<void> check_new_password(std::string_view password) {
  if (password.size() < kPasswordBytesMin)
    return fail("bad_password", "A password has at least 8 bytes", "", "Choose a longer one");
  if (password.size() > kPasswordBytesMax)
    return fail("bad_password", "A password has at most 1024 bytes");
  return {};
}

}  // namespace everspan::access
