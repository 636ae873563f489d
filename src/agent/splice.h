// Copies bytes between two streams until either ends; then both are closed.
#pragma once
#include <memory>
#include <string>

#include "net/async.h"
#include "net/transport.h"

namespace everspan::agent {

// `early` goes to `b` first.
[[nodiscard]] net::Task<void> splice(std::unique_ptr<net::Transport> a,
                                     std::unique_ptr<net::Transport> b, std::string early);

}  // namespace everspan::agent
