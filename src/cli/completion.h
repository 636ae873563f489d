// Completions for bash, made from the commands that there are.
#pragma once
#include <map>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace everspan::cli {

// "" -> words of the first level, "upgrade" -> its subcommands and options, "upgrade apply" -> ...
using CommandWords = std::map<std::string, std::vector<std::string>>;
[[nodiscard]] CommandWords command_words(const CLI::App& app);
[[nodiscard]] std::string bash_completion(const CommandWords& words);

}  // namespace everspan::cli
