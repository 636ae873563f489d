#include "site/writer.h"

namespace everspan::site {

net::Task<Result<store::Outcome>> update_record(store::LogReader& log, Writer& writer,
                                                std::string kind, std::string key, store::Edit edit,
                                                bool must_exist, WriteOptions options) {
  for (int tries = 0; tries < store::kUpdateTries; ++tries) {
    // Looked up before the record is read: a retry must not trip over what its first run changed.
    const auto before = log.outcome(options.request_id);
    if (!before) co_return fail(before);
    if (*before) {
      store::Outcome outcome = **before;
      outcome.repeated = true;
      co_return outcome;
    }
    const auto record = log.get(kind, key);
    if (!record) co_return fail(record);
    if (must_exist && !*record) co_return fail("not_found", "There is no such " + kind);
    const Revision now = *record ? (*record)->revision : Revision{0};
    if (options.if_match && *options.if_match != now)
      co_return fail("conflict", "The " + kind + " was changed since you read it",
                     "Nothing was changed", "Read it again and decide anew");
    std::optional<std::string> bytes;
    if (*record) bytes = (*record)->bytes;
    auto edited = edit(bytes);
    if (!edited) co_return fail(edited);

    store::Transaction transaction;
    transaction.request_id = options.request_id;
    transaction.writes.push_back(store::Write::put(kind, key, std::move(*edited), now));
    auto outcome = co_await writer.submit(std::move(transaction));
    if (outcome || outcome.error().code != "conflict" || options.if_match) co_return outcome;
  }
  co_return fail("conflict", "Others kept changing the " + kind, "Nothing was changed",
                 "Try again");
}

}  // namespace everspan::site
