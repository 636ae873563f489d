// What the first start of a node asks the person for.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "supervisor/layout.h"
#include "supervisor/messages.h"

namespace everspan::supervisor {

struct FirstStart {
  std::string site = "Everspan";
  std::string admin = "admin";
  std::string password_file;  // Empty: asked for on the terminal, or generated where there is none.
  std::vector<std::string> certificate_names;
};
inline constexpr std::size_t kPasswordBytesLeast = 10;
inline constexpr std::size_t kPasswordBytesMost = 1024;

// Null: the site was made already. Codes: bad_password, io.
[[nodiscard]] Result<std::unique_ptr<SiteInit>> first_start(const Layout& layout,
                                                            const FirstStart& wanted);
// At least 119 bits, no look-alikes, in groups that can be read out.
[[nodiscard]] std::string generate_password();

}  // namespace everspan::supervisor
