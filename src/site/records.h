// Kinds and keys of the site's records (messages in proto/records.proto). Names are for ever.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "access/core/scopes.h"
#include "common/ids.h"
#include "common/result.h"

namespace everspan::pb {
class SessionRecord;
}

namespace everspan::site {

inline constexpr std::string_view kKindSite = "site";
inline constexpr std::string_view kKindSecret = "secret";
inline constexpr std::string_view kKindAccount = "account";
inline constexpr std::string_view kKindToken = "token";
inline constexpr std::string_view kKindEnrolToken = "enrol_token";
inline constexpr std::string_view kKindEndpoint = "endpoint";
inline constexpr std::string_view kKindEndpointName = "endpoint_name";
inline constexpr std::string_view kKindSession = "session";
inline constexpr std::string_view kKindRevocation = "revocation";
inline constexpr std::string_view kKindSetting = "setting";
inline constexpr std::string_view kKindFeatureLevel = "feature_level";  // proto/level.proto

inline constexpr std::string_view kKeySite = "site";
inline constexpr std::string_view kSecretCaKey = "ca_key";                    // PEM
inline constexpr std::string_view kSecretCertificateKey = "certificate_key";  // PEM
inline constexpr std::string_view kSecretGrantKey = "grant_key";              // Ed25519 seed
inline constexpr std::string_view kSecretTicketKey = "ticket_key";            // 32 bytes
inline constexpr std::string_view kSecretRequestKey = "request_key";          // 32 bytes

// "site/alice"; "appliance/<node hex>/alice".
[[nodiscard]] std::string account_key(access::Area area, const NodeId& node, std::string_view name);
// "updates.source" of one node: "appliance/<node hex>/updates.source".
[[nodiscard]] std::string appliance_setting_key(const NodeId& node, std::string_view name);
[[nodiscard]] std::string lower_case(std::string_view ascii);

// The policy of a session; "off" is stored as "metadata" with a mark.
[[nodiscard]] std::string recording_word(const pb::SessionRecord& session);

// The message in `bytes`. Code bad_record: the store holds something that this release cannot read.
template <class Message>
[[nodiscard]] Result<Message> parse_record(std::string_view kind, std::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return fail("bad_record", "A stored record of kind " + std::string(kind) + " cannot be read",
                "Nothing was changed");
  return message;
}

}  // namespace everspan::site
