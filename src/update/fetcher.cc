#include "update/fetcher.h"

namespace everspan::update {

Result<std::string> get_all(Fetcher& fetcher, const std::string& url, std::uint64_t bytes_max) {
  std::string out;
  const auto got =
      fetcher.get(url, 0, bytes_max, [&](std::uint64_t offset, Bytes data) -> Result<void> {
        if (offset != out.size() || out.size() + data.size() > bytes_max)
          return fail("too_large", url + " is longer than allowed");
        out.append(as_text(data));
        return {};
      });
  if (!got) return fail(got);
  return out;
}

}  // namespace everspan::update
