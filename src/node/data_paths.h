// Where a node keeps what (CONTRACT, "Installed"): everything below one data folder.
#pragma once
#include <string>

namespace everspan::node {

struct DataPaths {
  std::string root;
  [[nodiscard]] std::string log() const { return root + "/log.db"; }
  [[nodiscard]] std::string node() const { return root + "/node"; }
  [[nodiscard]] std::string journal() const { return root + "/journal"; }
  [[nodiscard]] std::string recordings() const { return root + "/recordings"; }
  [[nodiscard]] std::string read_model(const std::string& version) const {
    return root + "/read/" + version + ".db";
  }
  [[nodiscard]] std::string incoming() const { return root + "/incoming"; }
  [[nodiscard]] std::string metadata() const { return root + "/incoming/metadata"; }
  [[nodiscard]] std::string backups() const { return root + "/backups"; }
};

}  // namespace everspan::node
