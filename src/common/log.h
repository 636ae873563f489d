// The log front: stable event names plus fields, one line each on standard error. Secrets never.
//
//   log_info("leg.attached", {{"session", id.hex()}, {"generation", "3"}});
//
// Event names are a contract (STYLE practice 35); no test reads their wording. May be called from
// any thread.
#pragma once
#include <initializer_list>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan {

struct LogField {
  std::string_view key;
  std::string value;
};
using LogFields = std::initializer_list<LogField>;

enum class LogLevel { debug, info, warning, error };

void set_log_level(LogLevel least);
void set_log_program(std::string name);  // "site", "base": in front of each line.

void log_debug(std::string_view event, LogFields fields = {});
void log_info(std::string_view event, LogFields fields = {});
void log_warning(std::string_view event, LogFields fields = {});
void log_error(std::string_view event, LogFields fields = {});

}  // namespace everspan
