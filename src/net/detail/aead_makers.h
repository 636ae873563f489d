// The makers behind net/detail/aead.h.
#pragma once
#include <memory>

#include "net/detail/aead.h"

namespace everspan::net::detail {

[[nodiscard]] std::unique_ptr<Aead> make_openssl_aead();
// Null: not built in, or the processor lacks an instruction.
[[nodiscard]] std::unique_ptr<Aead> make_ipsec_mb_aead();

}  // namespace everspan::net::detail
