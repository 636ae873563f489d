#include "store/update.h"

#include <utility>

namespace everspan::store {
namespace {

struct Attempt {
  LogReader& reader;
  LogWriter& writer;
  std::string kind;
  std::string key;
  Edit edit;
  UpdateOptions options;
  LogWriter::Done done;
  int tries = 0;
};

// Before the edit runs: what it did then may make it fail now.
Result<std::optional<Outcome>> ran_before(LogReader& reader, const RequestId& id) {
  if (id.is_zero()) return std::optional<Outcome>();
  return reader.outcome(id);
}

Result<Transaction> prepare(LogReader& reader, const std::string& kind, const std::string& key,
                            const Edit& edit, const UpdateOptions& options) {
  auto record = reader.get(kind, key);
  if (!record) return fail(record);
  if (!*record && options.must_exist)
    return fail("not_found", "There is no " + kind + " with this name", "Nothing was changed");
  std::optional<std::string> before;
  Revision expected;
  if (*record) {
    before = std::move((*record)->bytes);
    expected = (*record)->revision;
  }
  auto after = edit(before);
  if (!after) return fail(after);
  Transaction transaction;
  transaction.writes = {Write::put(kind, key, std::move(*after), expected)};
  transaction.request_id = options.request_id;
  transaction.feature_level = options.feature_level;
  return transaction;
}

void try_once(std::shared_ptr<Attempt> it) {
  auto before = ran_before(it->reader, it->options.request_id);
  if (!before) return it->done(fail(before));
  if (*before) return it->done(std::move(**before));
  auto transaction = prepare(it->reader, it->kind, it->key, it->edit, it->options);
  if (!transaction) return it->done(fail(transaction));
  it->writer.submit(std::move(*transaction), [it](Result<Outcome> result) {
    ++it->tries;
    if (!result && result.error().code == "conflict" && it->tries < kUpdateTries)
      return try_once(it);
    it->done(std::move(result));
  });
}

}  // namespace

Result<Outcome> update(LogReader& reader, LogWriter& writer, const std::string& kind,
                       const std::string& key, const Edit& edit, const UpdateOptions& options) {
  for (int tries = 1;; ++tries) {
    auto before = ran_before(reader, options.request_id);
    if (!before) return fail(before);
    if (*before) return std::move(**before);
    auto transaction = prepare(reader, kind, key, edit, options);
    if (!transaction) return fail(transaction);
    auto result = writer.submit_and_wait(std::move(*transaction));
    if (result || result.error().code != "conflict" || tries >= kUpdateTries) return result;
  }
}

void update_async(LogReader& reader, LogWriter& writer, std::string kind, std::string key,
                  Edit edit, UpdateOptions options, LogWriter::Done done) {
  try_once(std::make_shared<Attempt>(Attempt{reader, writer, std::move(kind), std::move(key),
                                             std::move(edit), options, std::move(done), 0}));
}

}  // namespace everspan::store
