// A temporary folder and the usual helpers for tests of the store.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "common/crypto.h"
#include "store/log.h"

namespace everspan::store {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "everspan-store-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline NodeId test_node() {
  NodeId id;
  id.bytes.fill(0xa1);
  return id;
}
inline NewSite test_site() {
  NewSite site;
  site.lineage.bytes.fill(0xb2);
  return site;
}
inline RequestId request(std::uint8_t n) {
  RequestId id;
  id.bytes.fill(n);
  return id;
}

inline LogWriter::Options writer_options(const std::string& path) {
  LogWriter::Options options;
  options.path = path;
  options.node_id = test_node();
  options.new_site = test_site();
  options.now = [] { return WallTime{1'700'000'000'000}; };
  return options;
}

inline Transaction put(const std::string& key, const std::string& bytes,
                       std::optional<Revision> expected = std::nullopt) {
  Transaction transaction;
  transaction.writes = {Write::put("setting", key, bytes, expected)};
  return transaction;
}

template <class T>
std::string code_of(const Result<T>& result) {
  return result ? "" : result.error().code;
}

// Fails the test and stops it unless the result holds a value.
#define ASSERT_OK(result)                                       \
  do {                                                          \
    const auto& checked = (result);                             \
    ASSERT_TRUE(checked.has_value()) << checked.error().text(); \
  } while (false)

}  // namespace everspan::store
