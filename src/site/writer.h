// Who takes the site's writes. node/ implements it: the local log while this process holds the
// generation; a queue, then the successor, during a hand-over. Nothing above knows which.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "net/async.h"
#include "store/log.h"
#include "store/update.h"

namespace everspan::site {

class Writer {
 public:
  virtual ~Writer() = default;
  // Any executor may call. Sets the transaction's feature level to the site's stored one. Codes:
  // those of LogWriter::submit; not_primary, unavailable (a hand-over lasted too long: nothing was
  // done).
  [[nodiscard]] virtual net::Task<Result<store::Outcome>> submit(
      store::Transaction transaction) = 0;
};

// Names one mutating call and, where the caller asked for it, the revision that it must replace.
struct WriteOptions {
  RequestId request_id;
  std::optional<Revision> if_match;
};

// Reads, edits what is known, writes if nobody else wrote meanwhile, else again (as store::update,
// over a Writer). A request that ran before gives its first outcome, `repeated` set. With
// `if_match` a concurrent write is a conflict at once. Both references outlive the call.
[[nodiscard]] net::Task<Result<store::Outcome>> update_record(store::LogReader& log, Writer& writer,
                                                              std::string kind, std::string key,
                                                              store::Edit edit, bool must_exist,
                                                              WriteOptions options);

}  // namespace everspan::site
