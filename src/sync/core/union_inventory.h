// What this node has of the union, and what may be said of it in few bytes. Pure.
//
// The digest of a bucket is the XOR over its items of 16 bytes: of blobs the first of the name; of
// what grows the first of SHA-256(name, length, hash). It finds what differs between two honest
// nodes; it proves nothing to anybody else.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sync/core/union_types.h"

namespace everspan::sync {

class UnionInventory {
 public:
  // True: it is new, or another point than before.
  bool put(const UnionItem& item);
  void remove(const UnionKey& key);
  [[nodiscard]] std::optional<UnionPoint> find(const UnionKey& key) const;
  [[nodiscard]] std::vector<UnionBucket> buckets() const;  // Those that hold something.
  [[nodiscard]] UnionBucket bucket(const UnionBucketId& id) const;
  // In the order of names, above `after`.
  [[nodiscard]] UnionList list(const UnionBucketId& id, std::string_view after,
                               std::size_t items_max) const;

 private:
  struct Growing {
    std::map<std::string, UnionPoint, std::less<>> files;
    std::uint64_t bytes = 0;
    std::array<std::uint8_t, 16> digest{};
  };
  struct Blob {
    Sha256 name{};
    std::uint64_t length = 0;
  };
  struct BlobBucket {
    std::vector<Blob> blobs;  // By name: a million of them must fit.
    std::uint64_t bytes = 0;
    std::array<std::uint8_t, 16> digest{};
  };
  using GrowingId = std::pair<UnionKind, NodeId>;

  bool put_blob(const UnionItem& item);
  [[nodiscard]] const Blob* find_blob(std::string_view name) const;

  std::map<GrowingId, Growing> growing_;
  std::array<BlobBucket, 256> blobs_;
};

}  // namespace everspan::sync
