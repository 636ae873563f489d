#include "node/pair_codec.h"

#include <algorithm>

#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

constexpr int kInSyncMax = 16;

}  // namespace

void put_point(const store::LogHead& head, pb::NodePoint& out) {
  out.set_revision(head.revision.value);
  out.set_hash(to_string(Bytes(head.hash)));
}

Result<store::LogHead> read_point(const pb::NodePoint& in) {
  store::LogHead out;
  out.revision = Revision{in.revision()};
  if (in.hash().size() != out.hash.size())
    return fail("bad_message", "A point of history without its hash");
  std::ranges::copy(as_bytes(in.hash()), out.hash.begin());
  return out;
}

void put_register(const failover::Register& reg, pb::NodeRegister& out) {
  out.set_lineage(reg.lineage.raw());
  out.set_epoch(reg.epoch.value);
  out.set_holder(reg.holder.raw());
  for (const NodeId& node : reg.in_sync) out.add_in_sync(node.raw());
  out.set_rests(reg.rests);
}

Result<failover::Register> read_register(const pb::NodeRegister& in) {
  failover::Register out;
  const Result<LineageId> lineage = LineageId::from_raw(in.lineage());
  if (!lineage) return fail(lineage);
  const Result<NodeId> holder = NodeId::from_raw(in.holder());
  if (!holder) return fail(holder);
  out.lineage = *lineage;
  out.epoch = Epoch{in.epoch()};
  out.holder = *holder;
  if (in.in_sync_size() > kInSyncMax)
    return fail("bad_message", "More nodes in sync than a site has");
  for (const std::string& raw : in.in_sync()) {
    const Result<NodeId> node = NodeId::from_raw(raw);
    if (!node) return fail(node);
    out.in_sync.push_back(*node);
  }
  std::ranges::sort(out.in_sync);
  out.rests = in.rests();
  return out;
}

Result<failover::Prepared> read_prepared(std::uint64_t epoch, const pb::NodePoint& head) {
  const Result<store::LogHead> point = read_point(head);
  if (!point) return fail(point);
  return failover::Prepared{Epoch{epoch}, *point};
}

}  // namespace everspan::node
