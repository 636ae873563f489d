// What the first start of a node asks the person for.
#pragma once
#include <memory>
#include <string>
#include <string_view>
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

// What `site-made` says.
inline constexpr std::string_view kSiteMade = "made\n";
inline constexpr std::string_view kSiteJoined = "joined\n";

// The node waits for another node's site (`--join`, now or at an earlier start). `makes_site`: an
// option was given that only a site of its own needs. Writes down that it waits. Codes: has_site (a
// site was made here), joining (it waits, and was told to make one), io.
[[nodiscard]] Result<bool> is_to_join(const Layout& layout, bool join, bool makes_site);

// Null: the site was made already. Codes: bad_password, io.
[[nodiscard]] Result<std::unique_ptr<SiteInit>> first_start(const Layout& layout,
                                                            const FirstStart& wanted);
// At least 119 bits, no look-alikes, in groups that can be read out.
[[nodiscard]] std::string generate_password();

}  // namespace everspan::supervisor
