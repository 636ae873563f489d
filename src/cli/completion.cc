#include "cli/completion.h"

#include <CLI/CLI.hpp>

namespace everspan::cli {
namespace {

void collect(const CLI::App& app, const std::string& path, const std::vector<std::string>& globals,
             CommandWords& out) {
  std::vector<std::string>& words = out[path];
  for (const CLI::App* each : app.get_subcommands([](const CLI::App*) { return true; })) {
    words.push_back(each->get_name());
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
  }
  words.insert(words.end(), globals.begin(), globals.end());
  for (const CLI::App* each : app.get_subcommands([](const CLI::App*) { return true; })) {
    collect(*each, path.empty() ? each->get_name() : path + " " + each->get_name(), globals, out);
  }
}

}  // namespace

CommandWords command_words(const CLI::App& app) {
  CommandWords out;
  collect(app, "", {}, out);
  std::vector<std::string> globals;
  for (const std::string& word : out[""]) {
    if (word.starts_with("--") && word != "--help") globals.push_back(word);
  }
  out.clear();
  collect(app, "", globals, out);
  return out;
}

std::string bash_completion(const CommandWords& words) {
  std::string out =
      "_everspan() {\n"
      "  local path='' word i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    [[ $word == -- ]] && return\n"
      "    [[ $word == [a-z]* ]] || continue\n"
      "    case \"${path:+$path }$word\" in\n";
  std::string paths;
  std::string lists;
  for (const auto& [path, list] : words) {
    if (!path.empty()) paths += (paths.empty() ? "'" : "|'") + path + "'";
    lists += "    '" + path + "') word='";
    for (const std::string& word : list) lists += word + " ";
    lists += "' ;;\n";
  }
  out += "      " + paths + ") path=\"${path:+$path }$word\" ;;\n    esac\n  done\n";
  out += "  case \"$path\" in\n" + lists + "  esac\n";
  out += "  COMPREPLY=($(compgen -W \"$word\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n}\n";
  out += "complete -o default -F _everspan everspan\n";
  return out;
}

}  // namespace everspan::cli
