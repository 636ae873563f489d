#include "update/core/manifest.h"

#include <set>

#include "common/bytes.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

constexpr const char* kCode = "bad_package";
constexpr std::string_view kFormat = "everspan.release/1";

[[nodiscard]] std::unexpected<Error> bad(std::string what) {
  return fail(kCode, "The package's manifest is malformed: " + std::move(what));
}

bool is_word(std::string_view text, std::size_t size_max) {
  if (text.empty() || text.size() > size_max) return false;
  for (const char c : text) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '-' || c == '_';
    if (!good) return false;
  }
  return true;
}

bool is_sha256_hex(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

Result<std::uint32_t> small_number(const Json& object, std::string_view key) {
  const auto number = need_number(object, key, kCode);
  if (!number) return fail(number);
  if (*number < 0 || *number > 0xFFFFFF) return bad("'" + std::string(key) + "' is out of range");
  return static_cast<std::uint32_t>(*number);
}

Result<void> read_needs(const Json& object, Manifest& out) {
  const Json* needs = object.find("needs");
  if (needs == nullptr) return {};
  if (needs->object() == nullptr) return bad("'needs' is no object");
  if (const Json* base = needs->find("base"); base != nullptr) {
    if (base->text() == nullptr) return bad("'needs.base' is no text");
    auto range = VersionRange::parse(*base->text());
    if (!range) return fail(range);
    out.needs_base = *range;
  }
  if (const Json* from = needs->find("from"); from != nullptr) {
    if (from->array() == nullptr || from->array()->size() > 64)
      return bad("'needs.from' is no list");
    for (const Json& entry : *from->array()) {
      if (entry.text() == nullptr) return bad("'needs.from' holds no text");
      auto range = VersionRange::parse(*entry.text());
      if (!range) return fail(range);
      out.needs_from.push_back(*range);
    }
  }
  return {};
}

Result<void> read_levels(const Json& object, Manifest& out) {
  const Json* wire = object.find("wire");
  const Json* log = object.find("log");
  if (wire == nullptr || log == nullptr) return bad("'wire' or 'log' is missing");
  const auto wire_min = small_number(*wire, "min");
  const auto wire_max = small_number(*wire, "max");
  const auto format = small_number(*log, "format");
  const auto level = small_number(*log, "feature_level");
  if (!wire_min) return fail(wire_min);
  if (!wire_max) return fail(wire_max);
  if (!format) return fail(format);
  if (!level) return fail(level);
  if (*wire_min > *wire_max) return bad("'wire.min' is above 'wire.max'");
  out.wire_min = *wire_min;
  out.wire_max = *wire_max;
  out.log_format = *format;
  out.feature_level = *level;
  return {};
}

Result<Manifest> read_common(const Json& object) {
  const auto format = need_text(object, "format", kCode);
  if (!format) return fail(format);
  if (*format != kFormat)
    return bad("its format '" + printable(*format, 60) + "' is not known to this release");
  const auto kind = need_text(object, "kind", kCode);
  const auto version = need_text(object, "version", kCode);
  const auto platform = need_text(object, "platform", kCode);
  if (!kind) return fail(kind);
  if (!version) return fail(version);
  if (!platform) return fail(platform);
  Manifest out;
  if (*kind != "site" && *kind != "base" && *kind != "client") return bad("unknown kind");
  out.kind = *kind;
  if (!is_word(*platform, 40)) return bad("'platform' is no name");
  out.platform = *platform;
  const auto parsed = Version::parse(*version);
  if (!parsed) return bad("'version' is no version");
  out.version = *parsed;
  if (const auto needs = read_needs(object, out); !needs) return fail(needs);
  if (const auto levels = read_levels(object, out); !levels) return fail(levels);
  if (const Json* floor = object.find("security_floor"); floor != nullptr) {
    if (floor->text() == nullptr) return bad("'security_floor' is no text");
    const auto value = Version::parse(*floor->text());
    if (!value) return bad("'security_floor' is no version");
    out.security_floor = *value;
  }
  if (const Json* notes = object.find("notes"); notes != nullptr && notes->text() != nullptr)
    out.notes = *notes->text();
  return out;
}

Result<ManifestFile> read_file(const Json& entry) {
  const auto path = need_text(entry, "path", kCode);
  const auto size = need_number(entry, "size", kCode);
  const auto hash = need_text(entry, "sha256", kCode);
  const auto mode = need_text(entry, "mode", kCode);
  if (!path) return fail(path);
  if (!size) return fail(size);
  if (!hash) return fail(hash);
  if (!mode) return fail(mode);
  if (!is_safe_path(*path) || *path == "manifest.json")
    return bad("unsafe path '" + printable(*path, 80) + "'");
  if (*size < 0 || static_cast<std::uint64_t>(*size) > kUnpackedBytesMax) return bad("bad size");
  if (!is_sha256_hex(*hash)) return bad("bad hash");
  if (*mode != "0644" && *mode != "0755") return bad("bad mode");
  return ManifestFile{*path, static_cast<std::uint64_t>(*size), *hash,
                      *mode == "0755" ? 0755U : 0644U};
}

// A file may not stand where another one's folder must be.
Result<void> check_paths(const std::vector<ManifestFile>& files) {
  std::set<std::string> paths;
  std::uint64_t sum = 0;
  for (const ManifestFile& file : files) {
    if (!paths.insert(file.path).second) return bad("a path stands twice");
    sum += file.size;
    if (sum > kUnpackedBytesMax) return fail("too_large", "The release is larger than allowed");
  }
  for (const std::string& path : paths)
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1))
      if (paths.contains(path.substr(0, slash))) return bad("a path is a file and a folder");
  return {};
}

Json::Object common_members(const Manifest& m) {
  Json::Array from;
  for (const VersionRange& range : m.needs_from) from.emplace_back(range.text());
  Json::Object needs{{"from", Json(std::move(from))}};
  if (!m.needs_base.text().empty()) needs.emplace("base", m.needs_base.text());
  const auto number = [](std::uint64_t n) { return Json(static_cast<std::int64_t>(n)); };
  return Json::Object{
      {"format", Json(kFormat)},
      {"kind", m.kind},
      {"version", m.version.text()},
      {"platform", m.platform},
      {"needs", Json(std::move(needs))},
      {"wire", Json(Json::Object{{"min", number(m.wire_min)}, {"max", number(m.wire_max)}})},
      {"log", Json(Json::Object{{"format", number(m.log_format)},
                                {"feature_level", number(m.feature_level)}})},
      {"security_floor", m.security_floor.text()},
      {"notes", m.notes}};
}

}  // namespace

Result<VersionRange> VersionRange::parse(std::string_view text) {
  VersionRange out;
  out.text_ = std::string(text);
  while (!text.empty()) {
    if (text.front() == ' ') {
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(end);
    const std::size_t digits = std::min(word.find_first_not_of("<>="), word.size());
    const std::string op(word.substr(0, digits));
    const auto version = Version::parse(word.substr(digits));
    const bool known =
        op.empty() || op == "=" || op == ">=" || op == ">" || op == "<=" || op == "<";
    if (!known || !version || out.bounds_.size() >= 8)
      return fail(kCode, "'" + printable(out.text_, 80) + "' is no range of versions");
    out.bounds_.push_back({op, *version});
  }
  return out;
}

bool VersionRange::contains(const Version& version) const {
  for (const Bound& bound : bounds_) {
    const auto order = version <=> bound.version;
    const bool holds = bound.op == ">="   ? order >= 0
                       : bound.op == ">"  ? order > 0
                       : bound.op == "<=" ? order <= 0
                       : bound.op == "<"  ? order < 0
                                          : order == 0;
    if (!holds) return false;
  }
  return true;
}

bool Manifest::follows(const Version& installed) const {
  if (needs_from.empty()) return true;
  for (const VersionRange& range : needs_from)
    if (range.contains(installed)) return true;
  return false;
}

Result<Manifest> parse_manifest(std::string_view bytes) {
  const auto json = parse_json(bytes, {.bytes_max = kManifestBytesMax});
  if (!json) return bad(json.error().message);
  auto out = read_common(*json);
  if (!out) return out;
  const Json* files = json->find("files");
  if (files == nullptr || files->array() == nullptr) return bad("'files' is missing");
  if (files->array()->size() > kPackageFilesMax) return bad("too many files");
  for (const Json& entry : *files->array()) {
    const auto file = read_file(entry);
    if (!file) return fail(file);
    out->files.push_back(*file);
  }
  if (const auto paths = check_paths(out->files); !paths) return fail(paths);
  return out;
}

std::string write_manifest(const Manifest& manifest) {
  Json::Object object = common_members(manifest);
  Json::Array files;
  for (const ManifestFile& file : manifest.files)
    files.emplace_back(Json::Object{{"path", file.path},
                                    {"size", static_cast<std::int64_t>(file.size)},
                                    {"sha256", file.sha256},
                                    {"mode", file.mode == 0755 ? "0755" : "0644"}});
  object.emplace("files", Json(std::move(files)));
  return to_json_text(Json(std::move(object)));
}

Json manifest_summary(const Manifest& manifest, std::string_view digest) {
  Json::Object object = common_members(manifest);
  object.emplace("digest", digest);
  return Json(Json::Object{{"everspan", Json(std::move(object))}});
}

Result<Manifest> parse_manifest_summary(const Json& custom, std::string& digest) {
  const Json* object = custom.find("everspan");
  if (object == nullptr) return bad("no Everspan package");
  const auto text = need_text(*object, "digest", kCode);
  if (!text) return fail(text);
  if (!is_sha256_hex(*text)) return bad("bad digest");
  digest = *text;
  return read_common(*object);
}

bool is_safe_path(std::string_view path) {
  if (path.empty() || path.size() > kPathBytesMax || path.front() == '/' || path.back() == '/')
    return false;
  for (const char c : path)
    if (static_cast<unsigned char>(c) < 0x21 || static_cast<unsigned char>(c) > 0x7E || c == '\\')
      return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part.front() == '.') return false;
    begin = end + 1;
  }
  return true;
}

std::string package_file_name(const Manifest& manifest) {
  return "everspan-" + manifest.kind + "-" + manifest.version.text() + "-" + manifest.platform +
         ".pkg";
}

std::string host_platform() {
#if defined(__x86_64__)
  return "linux-x86_64";
#elif defined(__aarch64__)
  return "linux-aarch64";
#else
#error "This platform has no name yet"
#endif
}

}  // namespace everspan::update
