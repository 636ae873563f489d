#include "store/blobs.h"

#include <gtest/gtest.h>

#include <fstream>

#include "store/test_support/log_fixture.h"

namespace everspan::store {
namespace {

TEST(BlobStore, KeepsBytesUnderTheirHash) {
  TemporaryFolder folder;
  auto blobs = Blobs::open(folder / "blobs");
  ASSERT_OK(blobs);
  const std::string bytes(200'000, 'b');
  auto name = blobs->put(bytes);
  ASSERT_OK(name);
  EXPECT_EQ(*name, sha256_hex(bytes));
  EXPECT_TRUE(blobs->exists(*name));
  ASSERT_OK(blobs->verify(*name));
  auto back = blobs->get(*name, bytes.size());
  ASSERT_OK(back);
  EXPECT_EQ(*back, bytes);
  EXPECT_EQ(code_of(blobs->get(*name, bytes.size() - 1)), "too_large");
  ASSERT_OK(blobs->put(bytes));
}

TEST(BlobStore, CopiesAFileAndLeavesNothingBehind) {
  TemporaryFolder folder;
  auto blobs = Blobs::open(folder / "blobs");
  ASSERT_OK(blobs);
  std::ofstream(folder / "file") << "contents";
  for (int i = 0; i < 2; ++i) {
    auto name = blobs->put_file(folder / "file");
    ASSERT_OK(name);
    EXPECT_EQ(*name, sha256_hex("contents"));
  }
  EXPECT_EQ(code_of(blobs->put_file(folder / "missing")), "not_found");
  EXPECT_TRUE(std::filesystem::is_empty(folder / "blobs/tmp"));
  auto empty = blobs->put("");
  ASSERT_OK(empty);
  EXPECT_EQ(*blobs->get(*empty, 0), "");
}

TEST(BlobStore, FindsAChangedBlob) {
  TemporaryFolder folder;
  auto blobs = Blobs::open(folder / "blobs");
  ASSERT_OK(blobs);
  auto name = blobs->put("right");
  ASSERT_OK(name);
  std::ofstream(*blobs->path(*name)) << "wrong";
  EXPECT_EQ(code_of(blobs->get(*name, 100)), "bad_blob");
  EXPECT_EQ(code_of(blobs->verify(*name)), "bad_blob");
}

TEST(BlobStore, TakesNoNameThatIsNotAHash) {
  TemporaryFolder folder;
  auto blobs = Blobs::open(folder / "blobs");
  ASSERT_OK(blobs);
  for (const std::string& name :
       {std::string(), std::string("../../etc/passwd"), std::string(63, 'a'), std::string(64, 'A'),
        std::string(62, 'a') + "/."})
    EXPECT_EQ(code_of(blobs->path(name)), "bad_blob") << name;
  EXPECT_EQ(code_of(blobs->path(std::string(64, 'a'))), "not_found");
}

}  // namespace
}  // namespace everspan::store
