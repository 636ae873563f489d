#include "node/transaction_codec.h"

#include "proto/handover.pb.h"

namespace everspan::node {
namespace {

std::unexpected<Error> bad() {
  return fail("bad_message", "A forwarded write cannot be read", "It was not run");
}

}  // namespace

std::string encode_transaction(const store::Transaction& transaction) {
  pb::ForwardedTransaction message;
  for (const store::Write& write : transaction.writes) {
    pb::ForwardedTransaction::Write& out = *message.add_writes();
    out.set_action(static_cast<std::uint32_t>(write.operation.action));
    out.set_kind(write.operation.kind);
    out.set_key(write.operation.key);
    out.set_record(write.operation.bytes);
    out.set_has_expected(write.expected.has_value());
    if (write.expected) out.set_expected(write.expected->value);
  }
  message.set_request_id(transaction.request_id.raw());
  message.set_flags(transaction.flags);
  message.set_feature_level(transaction.feature_level);
  return message.SerializeAsString();
}

Result<store::Transaction> decode_transaction(const std::string& bytes) {
  pb::ForwardedTransaction message;
  if (!message.ParseFromString(bytes)) return bad();
  store::Transaction out;
  const Result<RequestId> id = RequestId::from_raw(message.request_id());
  if (!id) return fail(id);
  out.request_id = *id;
  out.flags = message.flags();
  out.feature_level = message.feature_level();
  if (message.writes_size() < 1 || message.writes_size() > static_cast<int>(store::kOperationsMax))
    return bad();
  for (const pb::ForwardedTransaction::Write& write : message.writes()) {
    store::Write in;
    if (write.action() != 1 && write.action() != 2) return bad();
    in.operation.action = static_cast<store::Action>(write.action());
    in.operation.kind = write.kind();
    in.operation.key = write.key();
    in.operation.bytes = write.record();
    if (write.has_expected()) in.expected = Revision{write.expected()};
    out.writes.push_back(std::move(in));
  }
  return out;
}

std::string encode_outcome(const store::Outcome& outcome) {
  pb::ForwardedOutcome message;
  message.set_revision(outcome.revision.value);
  message.set_lineage(outcome.lineage.raw());
  message.set_epoch(outcome.epoch.value);
  for (const NodeId& node : outcome.stores) message.add_stores(node.raw());
  message.set_repeated_request(outcome.repeated);
  return message.SerializeAsString();
}

Result<store::Outcome> decode_outcome(const std::string& bytes) {
  pb::ForwardedOutcome message;
  if (!message.ParseFromString(bytes)) return bad();
  store::Outcome out;
  out.revision = Revision{message.revision()};
  const Result<LineageId> lineage = LineageId::from_raw(message.lineage());
  if (!lineage) return fail(lineage);
  out.lineage = *lineage;
  out.epoch = Epoch{message.epoch()};
  for (const std::string& raw : message.stores()) {
    const Result<NodeId> node = NodeId::from_raw(raw);
    if (!node) return fail(node);
    out.stores.push_back(*node);
  }
  out.repeated = message.repeated_request();
  return out;
}

}  // namespace everspan::node
