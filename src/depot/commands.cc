#include "depot/commands.h"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <optional>

#include "common/log.h"
#include "common/version.h"
#include "depot/repository.h"
#include "depot/server.h"
#include "update/files.h"
#include "update/package.h"
#include "update/release_info.h"

namespace everspan::depot {
namespace {

using update::Json;

struct Words {
  std::string dir;
  bool json = false;
  int threshold = 1;
  std::vector<std::string> packages;
  std::string listen = "127.0.0.1:8443";
  std::string certificate, key;
  bool plain_http = false;
  // build-package
  std::string kind = "site", version, platform = update::host_platform(), out, needs_base, notes,
              security_floor = "0.0.0";
  std::vector<std::string> needs_from, files;
  std::optional<std::uint32_t> wire_min, wire_max, log_format, feature_level;
};

void print_json(const Json& json) {
  std::printf("%s\n", update::to_json_text(json).c_str());
}

int print_error(const Error& error, bool json) {
  if (json) {
    print_json(Json(Json::Object{{"error", Json(Json::Object{{"code", error.code},
                                                             {"message", error.message},
                                                             {"kept", error.kept},
                                                             {"next", error.next}})}}));
  } else {
    std::fprintf(stderr, "everspan-depot: %s\n", error.text().c_str());
  }
  if (error.code == "conflict" || error.code == "busy") return 5;
  for (const char* refused : {"bad_signature", "unknown_key", "expired", "rollback", "bad_hash",
                              "bad_package", "missing_keys"})
    if (error.code == refused) return 3;
  return error.code == "bad_request" ? 2 : 1;
}

int print_state(const Result<RepositoryState>& state, const char* done, bool json) {
  if (!state) return print_error(state.error(), json);
  if (json) {
    Json::Array packages;
    for (const PublishedPackage& p : state->packages)
      packages.emplace_back(Json::Object{{"target", p.target_name},
                                         {"kind", p.kind},
                                         {"version", p.version},
                                         {"platform", p.platform},
                                         {"digest", p.digest},
                                         {"bytes", static_cast<std::int64_t>(p.bytes)}});
    Json::Array warnings;
    for (const std::string& warning : state->warnings) warnings.emplace_back(warning);
    print_json(Json(Json::Object{{"root", state->root},
                                 {"targets", state->targets},
                                 {"snapshot", state->snapshot},
                                 {"timestamp", state->timestamp},
                                 {"packages", Json(std::move(packages))},
                                 {"warnings", Json(std::move(warnings))}}));
    return 0;
  }
  std::printf("%s: root %lld, targets %lld, snapshot %lld, timestamp %lld, %zu packages\n", done,
              static_cast<long long>(state->root), static_cast<long long>(state->targets),
              static_cast<long long>(state->snapshot), static_cast<long long>(state->timestamp),
              state->packages.size());
  for (const PublishedPackage& p : state->packages)
    std::printf("  %s  %s\n", p.target_name.c_str(), p.digest.c_str());
  for (const std::string& warning : state->warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  return 0;
}

// "bin/everspan-site=/build/bin/everspan-site", or a path alone: packed as bin/<file name>.
Result<update::PackageInput> package_input(const std::string& word) {
  update::PackageInput input;
  const auto equals = word.find('=');
  input.source = equals == std::string::npos ? word : word.substr(equals + 1);
  input.path = equals == std::string::npos ? "bin/" + word.substr(word.rfind('/') + 1)
                                           : word.substr(0, equals);
  struct stat info{};
  if (::stat(input.source.c_str(), &info) != 0)
    return update::fail_file("Cannot look at " + input.source, errno);
  input.mode = (info.st_mode & 0111) != 0 ? 0755 : 0644;
  return input;
}

// What the site program among them says of itself. Without one, or from release 0.1.0: the first
// levels.
Result<update::ReleaseInfo> release_info_of(const std::vector<update::PackageInput>& inputs) {
  constexpr std::uint64_t kProgramBytesMax = 1ULL << 30;
  for (const update::PackageInput& input : inputs) {
    if (input.path != "bin/everspan-site") continue;
    const auto program = update::read_file(input.source, kProgramBytesMax);
    if (!program) return fail(program);
    const auto info = update::find_release_info(*program);
    if (!info) return fail(info);
    return info->value_or(update::kReleaseInfoSilent);
  }
  return update::kReleaseInfoSilent;
}

Result<update::PackageStats> build(const Words& words) {
  update::Manifest manifest;
  manifest.kind = words.kind;
  const auto version = Version::parse(words.version);
  const auto floor = Version::parse(words.security_floor);
  if (!version) return fail("bad_request", "--version is no version");
  if (!floor) return fail("bad_request", "--security-floor is no version");
  manifest.version = *version;
  manifest.security_floor = *floor;
  manifest.platform = words.platform;
  const auto base = update::VersionRange::parse(words.needs_base);
  if (!base) return fail(base);
  manifest.needs_base = *base;
  for (const std::string& text : words.needs_from) {
    const auto range = update::VersionRange::parse(text);
    if (!range) return fail(range);
    manifest.needs_from.push_back(*range);
  }
  manifest.notes = words.notes;
  std::vector<update::PackageInput> inputs;
  for (const std::string& file : words.files) {
    auto input = package_input(file);
    if (!input) return fail(input);
    inputs.push_back(std::move(*input));
  }
  const auto says = release_info_of(inputs);
  if (!says) return fail(says);
  manifest.wire_min = words.wire_min.value_or(says->wire_min);
  manifest.wire_max = words.wire_max.value_or(says->wire_max);
  manifest.log_format = words.log_format.value_or(says->log_format);
  manifest.feature_level = words.feature_level.value_or(says->feature_level);
  const std::string out = words.out.empty() ? update::package_file_name(manifest) : words.out;
  return update::build_package(manifest, inputs, out);
}

int build_command(const Words& words) {
  const auto built = build(words);
  if (!built) return print_error(built.error(), words.json);
  if (words.json) {
    print_json(Json(Json::Object{{"digest", built->digest},
                                 {"sha256", built->sha256},
                                 {"bytes", static_cast<std::int64_t>(built->bytes)}}));
  } else {
    std::printf("Built: release %s, %llu bytes\n", built->digest.c_str(),
                static_cast<unsigned long long>(built->bytes));
  }
  return 0;
}

int serve_command(const Words& words) {
  const auto listen = net::Address::parse(words.listen);
  if (!listen) return print_error(listen.error(), words.json);
  const ServeOptions options{words.dir, *listen, words.certificate, words.key, words.plain_http};
  const auto done = serve(options, [&](const Served& served) {
    if (words.json) {
      print_json(Json(Json::Object{{"url", served.url}, {"ca", served.ca_path}}));
    } else {
      std::printf("Serving %s\n", served.url.c_str());
      if (!served.ca_path.empty())
        std::printf("Its certificate comes from its own authority: %s\n", served.ca_path.c_str());
    }
    std::fflush(stdout);
  });
  return done ? 0 : print_error(done.error(), words.json);
}

CLI::App* add_command(CLI::App& app, Words& words, const char* name, const char* help,
                      bool needs_dir) {
  CLI::App* command = app.add_subcommand(name, help);
  if (needs_dir) command->add_option("--dir", words.dir, "The depot's folder")->required();
  command->add_flag("--json", words.json, "Print JSON");
  return command;
}

void add_build_options(CLI::App* command, Words& words) {
  command->add_option("--kind", words.kind, "site, base or client")->capture_default_str();
  command->add_option("--version", words.version, "Version of the release")->required();
  command->add_option("--platform", words.platform, "For which machines")->capture_default_str();
  command->add_option("--out", words.out, "Package file (default: its proper name here)");
  command->add_option("--needs-base", words.needs_base, "Base software that it needs: '>=0.1.0'");
  command->add_option("--from", words.needs_from, "Releases that it can follow; repeatable");
  command->add_option("--wire-min", words.wire_min,
                      "Oldest wire version that it speaks (default: what the program says)");
  command->add_option("--wire-max", words.wire_max,
                      "Newest wire version that it speaks (default: what the program says)");
  command->add_option("--log-format", words.log_format,
                      "Log format that it needs (default: what the program says)");
  command->add_option("--feature-level", words.feature_level,
                      "Feature level after finalise (default: what the program says)");
  command->add_option("--security-floor", words.security_floor,
                      "No release below this after finalise");
  command->add_option("--notes", words.notes, "What is new");
  command->add_option("files", words.files, "PATH_IN_PACKAGE=FILE, or FILE (goes to bin/)")
      ->required();
}

}  // namespace

int run_depot(int argc, char** argv) {
  set_log_program("depot");
  Words words;
  CLI::App app{"Everspan's update server and signing tool"};
  app.set_version_flag("--version", std::string(program_version()));
  app.require_subcommand(1);
  CLI::App* init =
      add_command(app, words, "init", "Make a depot: keys and an empty repository", true);
  init->add_option("--threshold", words.threshold,
                   "Signatures that root and targets need: 1 (of 1), 2 (of 3), ...");
  CLI::App* publish_it = add_command(app, words, "publish", "Sign packages and add them", true);
  publish_it->add_option("packages", words.packages, "Package files")->required();
  CLI::App* serve_it = add_command(app, words, "serve", "Serve the repository over HTTPS", true);
  serve_it->add_option("--listen", words.listen, "HOST:PORT")->capture_default_str();
  serve_it->add_option("--cert", words.certificate,
                       "Certificate chain (PEM); else an own authority");
  serve_it->add_option("--key", words.key, "Its private key (PEM)");
  serve_it->add_flag("--plain-http", words.plain_http, "No TLS; on a loopback address only");
  CLI::App* verify_it = add_command(app, words, "verify", "Check the whole repository", true);
  CLI::App* refresh_it = add_command(app, words, "refresh-timestamp",
                                     "Sign that the repository is still the newest", true);
  CLI::App* build_it = add_command(app, words, "build-package", "Make a package from files", false);
  add_build_options(build_it, words);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const WallTime now = net::wall_now();
  if (*init)
    return print_state(init_repository(words.dir, {words.threshold}, now), "Made", words.json);
  if (*publish_it)
    return print_state(publish(words.dir, words.packages, now), "Published", words.json);
  if (*verify_it) return print_state(verify_repository(words.dir, now), "Verified", words.json);
  if (*refresh_it) return print_state(refresh_timestamp(words.dir, now), "Refreshed", words.json);
  if (*build_it) return build_command(words);
  return serve_command(words);
}

}  // namespace everspan::depot
