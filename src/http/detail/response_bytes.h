// A response as it goes over the wire.
#pragma once
#include <string>

#include "http/message.h"

namespace everspan::http::detail {

// A header of the handler that holds a line break or another control byte is left out: it could
// begin a second response.
std::string response_bytes(const Response& response, bool keep_alive, bool without_body);

}  // namespace everspan::http::detail
