// Limits of update: every size that foreign bytes could choose is capped here, with the reason.
#pragma once
#include <cstddef>
#include <cstdint>

namespace everspan::update {

// A root with 64 keys and signatures is 20 KiB; a depot with 1,000 targets has 1 MiB of targets
// metadata.
inline constexpr std::size_t kRootBytesMax = 512U << 10;
inline constexpr std::size_t kTimestampBytesMax = 16U << 10;
inline constexpr std::size_t kSnapshotBytesMax = 2U << 20;
inline constexpr std::size_t kTargetsBytesMax = 5U << 20;
inline constexpr int kRootRotationsMax = 1024;  // In one refresh: no endless chain.

inline constexpr std::uint64_t kPackageBytesMax = 2ULL << 30;  // Packed.
inline constexpr std::uint64_t kUnpackedBytesMax =
    4ULL << 30;  // All files of a release: no archive bomb.
inline constexpr std::size_t kManifestBytesMax = 1U << 20;
inline constexpr std::size_t kPackageFilesMax = 10000;
inline constexpr std::size_t kPathBytesMax = 240;

}  // namespace everspan::update
