#include "common/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "common/bytes.h"

namespace everspan {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto made = spdlog::stderr_logger_mt("everspan");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return made;
  }();
  return *instance;
}

std::string& program() {
  static std::string name = "everspan";
  return name;
}

void write(spdlog::level::level_enum level, std::string_view event, LogFields fields) {
  if (!logger().should_log(level)) return;
  std::string line = program() + " " + std::string(event);
  for (const LogField& field : fields) {
    const bool plain =
        field.value.find_first_of(" \"=") == std::string::npos && !field.value.empty();
    line += " " + std::string(field.key) + "=";
    line += plain ? printable(field.value, 1000) : "\"" + printable(field.value, 1000) + "\"";
  }
  logger().log(level, line);
}

}  // namespace

void set_log_level(LogLevel least) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  logger().set_level(kLevels[static_cast<int>(least)]);
}
void set_log_program(std::string name) {
  program() = std::move(name);
}

void log_debug(std::string_view event, LogFields f) {
  write(spdlog::level::debug, event, f);
}
void log_info(std::string_view event, LogFields f) {
  write(spdlog::level::info, event, f);
}
void log_warning(std::string_view event, LogFields f) {
  write(spdlog::level::warn, event, f);
}
void log_error(std::string_view event, LogFields f) {
  write(spdlog::level::err, event, f);
}

}  // namespace everspan
