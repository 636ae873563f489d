// everspan-tuf: the update client alone, with the command line of the tuf-conformance suite. Exit 0
// or 1.
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

#include "update/client.h"
#include "update/http_fetcher.h"

namespace {

using everspan::Result;
namespace update = everspan::update;

constexpr const char* kUsage =
    "usage: everspan-tuf --metadata-dir D init ROOT\n"
    "       everspan-tuf --metadata-url U --metadata-dir D refresh\n"
    "       everspan-tuf --metadata-url U --metadata-dir D --target-name T... --target-base-url B "
    "--target-dir O download\n";

struct Options {
  std::string metadata_dir, metadata_url, target_base_url, target_dir, command, root;
  std::vector<std::string> target_names;
};

bool parse(int argc, char** argv, Options& out) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool last = i + 1 >= argc;
    std::string* into = word == "--metadata-dir"      ? &out.metadata_dir
                        : word == "--metadata-url"    ? &out.metadata_url
                        : word == "--target-base-url" ? &out.target_base_url
                        : word == "--target-dir"      ? &out.target_dir
                        : word == "init"              ? &out.root
                                                      : nullptr;
    if (into != nullptr) {
      if (last) return false;
      if (word == "init") out.command = word;
      *into = argv[++i];
    } else if (word == "--target-name") {
      if (last) return false;
      out.target_names.emplace_back(argv[++i]);
    } else if (word == "refresh" || word == "download") {
      out.command = word;
    } else {
      return false;
    }
  }
  return !out.command.empty() && !out.metadata_dir.empty();
}

everspan::WallTime start_time() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000};
}

Result<std::string> read_root(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return everspan::fail("io", "Cannot open " + path);
  std::string bytes(1U << 20, '\0');
  bytes.resize(std::fread(bytes.data(), 1, bytes.size(), file));
  std::fclose(file);
  return bytes;
}

Result<void> run(const Options& options) {
  if (options.command == "init") {
    const auto root = read_root(options.root);
    if (!root) return everspan::fail(root);
    return update::UpdateClient::init(options.metadata_dir, *root);
  }
  update::HttpFetcher fetcher({});
  update::UpdateClient client(options.metadata_dir);
  if (const auto fresh = client.refresh(fetcher, options.metadata_url, start_time()); !fresh)
    return fresh;
  if (options.command == "refresh") return {};
  for (const std::string& name : options.target_names) {
    const auto path = client.download(fetcher, options.target_base_url, name, options.target_dir);
    if (!path) return everspan::fail(path);
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const auto done = run(options);
  if (done) return 0;
  std::fprintf(stderr, "everspan-tuf: %s: %s\n", done.error().code.c_str(),
               done.error().text().c_str());
  return 1;
}
