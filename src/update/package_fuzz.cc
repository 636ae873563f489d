// Foreign bytes as a package (as they are, and as the archive inside the compression, which chance
// does not get through) and as a program that says what it is. Nothing is written outside its
// folder.
#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "update/detail/unpack.h"
#include "update/files.h"
#include "update/release_info.h"

namespace {

using namespace everspan;
using namespace everspan::update;

std::string compressed(std::string_view bytes) {
  std::string out(bytes.size() + 4096, '\0');
  std::size_t used = 0;
  archive* a = archive_write_new();
  archive_entry* entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_pathname(entry, "raw");
  const bool good = archive_write_add_filter_zstd(a) == ARCHIVE_OK &&
                    archive_write_set_format_raw(a) == ARCHIVE_OK &&
                    archive_write_set_bytes_in_last_block(a, 1) == ARCHIVE_OK &&
                    archive_write_open_memory(a, out.data(), out.size(), &used) == ARCHIVE_OK &&
                    archive_write_header(a, entry) == ARCHIVE_OK &&
                    archive_write_data(a, bytes.data(), bytes.size()) >= 0 &&
                    archive_write_close(a) == ARCHIVE_OK;
  if (!good) std::abort();
  archive_entry_free(entry);
  archive_write_free(a);
  out.resize(used);
  return out;
}

void unpack(std::string_view bytes) {
  static const std::string root = [] {
    std::string name = (std::filesystem::temp_directory_path() / "everspan-fuzz-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }();
  const OwnedFd file(memfd_create("package", MFD_CLOEXEC));
  if (write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  const std::string folder = root + "/out";
  const auto done = detail::unpack_fd(file.get(), folder);
  if (done) {
    for (const auto& each : done->package.manifest.files)
      if (std::filesystem::file_size(std::filesystem::path(folder) / each.path) != each.size)
        std::abort();
    detail::remove_tree(folder);
  }
  if (!std::filesystem::is_empty(root)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)find_release_info(bytes).has_value();
  unpack(bytes);
  unpack(compressed(bytes));
  return 0;
}
