#include "cli/profile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>

#include "cli/core/text.h"
#include "cli/files.h"
#include "common/crypto.h"
#include "net/address.h"
#include "net/fd.h"

namespace everspan::cli {
namespace {

namespace json = boost::json;

constexpr std::size_t kProfileBytesMax = 1024 * 1024;
constexpr std::size_t kNameBytesMax = 64;

Result<void> check_name(const std::string& name) {
  const bool plain =
      name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") ==
      std::string::npos;
  if (name.empty() || name.size() > kNameBytesMax || name[0] == '.' || !plain) {
    return fail("usage", "\"" + harmless(name) + "\" is no name for a profile", "",
                "Use letters, digits, dots, dashes and underscores");
  }
  return {};
}

std::string file_of(const std::string& folder, const std::string& name) {
  return folder + "/" + name + ".json";
}

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  const json::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string{} : std::string(*text);
}

Result<void> make_folders(const std::string& folder) {
  for (std::size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    const std::string part = folder.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail_errno("io", "Making the folder " + part, errno);
    }
    if (slash == std::string::npos) return {};
  }
}

}  // namespace

Result<std::string> profile_folder() {
  const char* data = std::getenv("EVERSPAN_DATA");
  if (data != nullptr && *data != '\0') return std::string(data) + "/profiles";
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config == '/') return std::string(config) + "/everspan/profiles";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.config/everspan/profiles";
  return fail("usage", "There is no folder for profiles", "", "Set HOME or EVERSPAN_DATA");
}

Result<std::string> site_address(const std::string& text) {
  std::string_view rest = text;
  if (rest.starts_with("https://")) rest.remove_prefix(8);
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const auto whole = net::Address::parse(rest);
  if (whole && whole->port != 0) return whole->text();
  const auto named = net::Address::parse(std::string(rest) + ":8443");
  if (named) return named->text();
  return fail("usage", "\"" + harmless(text) + "\" is no site", "",
              "Write https://HOST:PORT or HOST:PORT");
}

Result<Profile> load_profile(const std::string& folder, const std::string& name) {
  const auto good = check_name(name);
  if (!good) return fail(good);
  Profile out;
  out.name = name;
  const std::string path = file_of(folder, name);
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return out;
  const auto text = read_file(path, kProfileBytesMax);
  if (!text) return fail(text);
  boost::system::error_code error;
  const json::value value = json::parse(*text, error);
  if (error || !value.is_object()) {
    return fail("io", "The profile " + path + " is damaged", "", "Remove it and log in again");
  }
  const json::object& object = value.get_object();
  out.site = text_at(object, "site");
  out.ca_pem = text_at(object, "ca_pem");
  const json::value* nodes = object.if_contains("nodes");
  if (nodes != nullptr && nodes->is_array()) {
    for (const json::value& each : nodes->get_array()) {
      if (each.is_string() && out.nodes.size() < kNodesMax)
        out.nodes.emplace_back(each.get_string());
    }
  }
  const json::value* tokens = object.if_contains("tokens");
  if (tokens != nullptr && tokens->is_object()) {
    for (const auto& [area, saved] : tokens->get_object()) {
      if (!saved.is_object()) continue;
      const json::object& fields = saved.get_object();
      out.tokens[area] = {text_at(fields, "token"), text_at(fields, "account"),
                          text_at(fields, "expires_at")};
    }
  }
  return out;
}

Result<void> save_profile(const std::string& folder, const Profile& profile) {
  const auto good = check_name(profile.name);
  if (!good) return fail(good);
  const auto made = make_folders(folder);
  if (!made) return fail(made);
  json::object tokens;
  for (const auto& [area, saved] : profile.tokens) {
    tokens[area] = json::object{
        {"token", saved.token}, {"account", saved.account}, {"expires_at", saved.expires_at}};
  }
  json::object object;
  object["site"] = profile.site;
  object["ca_pem"] = profile.ca_pem;
  json::array nodes;
  for (const std::string& each : profile.nodes) nodes.emplace_back(each);
  object["nodes"] = std::move(nodes);
  object["tokens"] = std::move(tokens);
  return write_secret_file(file_of(folder, profile.name), json::serialize(object));
}

}  // namespace everspan::cli
