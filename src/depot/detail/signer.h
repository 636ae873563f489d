// Makes and reads the repository's documents.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "depot/keys.h"
#include "update/core/metadata.h"

namespace everspan::depot::detail {

struct Document {
  std::int64_t version = 0;
  WallTime expires;
  std::string bytes;
};
struct Documents {
  update::Root root;
  Document targets;
  Document snapshot;
  Document timestamp;
  std::map<std::string, update::TargetFile> files;
};

[[nodiscard]] std::string sign_document(update::Role role, std::int64_t version, WallTime expires,
                                        update::Json::Object members,
                                        const std::vector<SigningKey>& signers);
// version, length and SHA-256 of a document, as the next one names it.
[[nodiscard]] update::Json meta_of(const Document& document);
[[nodiscard]] update::Json::Object root_members(
    const std::map<update::Role, std::vector<std::string>>& publics, int threshold);
[[nodiscard]] Result<std::string> sign_first_root(const update::Json::Object& members,
                                                  WallTime expires, const KeyStore& keys);
// The `targets` object of a targets document, unknown members and all.
[[nodiscard]] update::Json::Object targets_member(std::string_view targets_bytes);

// What stands in the folder now, whatever has expired: for signing anew. Signatures are checked.
[[nodiscard]] Result<Documents> read_repository(const std::string& repository);
// As a client that trusts 1.root.json and nothing else.
[[nodiscard]] Result<Documents> verify_as_client(const std::string& repository, WallTime now);

}  // namespace everspan::depot::detail
