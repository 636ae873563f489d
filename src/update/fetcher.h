// Where files of a repository come from. Two implementations: HttpFetcher, and a folder (tests,
// bundles).
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan::update {

class Fetcher {
 public:
  virtual ~Fetcher() = default;

  // Called with `offset` of the first byte of `data`; an error stops the transfer and is returned.
  using Sink = std::function<Result<void>(std::uint64_t offset, Bytes data)>;

  // The file at `url` from byte `from` on. A server without ranges answers from 0: the sink sees it
  // by the offset. Stops with too_large as soon as the file is longer than `bytes_max`. Codes:
  // not_found, too_large, unreachable, timeout, bad_url, http_error, tls, cancelled.
  [[nodiscard]] virtual Result<void> get(const std::string& url, std::uint64_t from,
                                         std::uint64_t bytes_max, const Sink& sink) = 0;
};

// The whole of a small file.
[[nodiscard]] Result<std::string> get_all(Fetcher& fetcher, const std::string& url,
                                          std::uint64_t bytes_max);

}  // namespace everspan::update
