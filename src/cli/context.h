// What every command has at hand: the globals, the profile, the site's API, the terminal.
#pragma once
#include <boost/json/object.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/core/text.h"
#include "cli/profile.h"
#include "cli/terminal.h"
#include "http/client.h"
#include "http/site_client.h"

namespace everspan::cli {

struct Globals {
  std::string site;
  std::string profile;
  bool json = false;
  bool no_color = false;
  std::chrono::milliseconds timeout{30'000};
  bool yes = false;
  std::string confirm;
};

// An answer of the API, or why there is none. `exit` is the program's status if it ends here.
struct Answer {
  int exit = 0;
  int status = 0;
  Error error;
  boost::json::object body;
  std::string raw;
  std::string node;  // HOST:PORT of who answered.
  [[nodiscard]] bool ok() const { return exit == 0; }
};

// Which node a call is for.
enum class Where {
  site,  // Any: another known one when the first is away, the primary where that is needed.
  node,  // The one that was named.
  once,  // As `node`, and its 503 is the answer.
};

class Context {
 public:
  // The profile is read; the site need not be known yet.
  static Result<Context> make(Globals globals);

  [[nodiscard]] const Globals& globals() const { return globals_; }
  [[nodiscard]] const Terminal& terminal() const { return terminal_; }
  [[nodiscard]] Profile& profile() { return profile_; }
  [[nodiscard]] const std::string& folder() const { return folder_; }
  [[nodiscard]] Result<std::string> address() const;  // Of the site, HOST:PORT.

  // `area` names the token that is sent; empty: none. A request that broke in the middle, or met a
  // hand-over (503), is sent again with the same Idempotency-Key: the site runs it once. Calls of
  // the area "appliance" are for the named node, always.
  Answer get(const std::string& path, std::string_view area = "site", Where where = Where::site);
  Answer call(const std::string& method, const std::string& path, boost::json::object body,
              std::string_view area = "site", Where where = Where::site);
  // Where else the site answers, for a client of its own; the named node is not among them.
  [[nodiscard]] std::vector<std::string> other_nodes() const;

  // Prints the error and gives the exit status.
  int fail(const Error& error, int status = 0) const;
  int fail(const Answer& answer) const { return fail(answer.error, answer.status); }
  // With --json the answer as it came and true.
  bool print_json(const Answer& answer) const;
  void print_table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                   std::string_view when_empty) const;
  // "label             value", the value as it is.
  void print_field(std::string_view label, const std::string& value) const;
  // --yes, or the person's "y". Code not_confirmed; usage when nobody can be asked.
  [[nodiscard]] Result<void> confirm(const std::string& question) const;
  // For what cannot be undone: --confirm TEXT, or the text typed.
  [[nodiscard]] Result<void> confirm_text(const std::string& what, const std::string& text) const;

 private:
  explicit Context(Globals globals);
  Answer ask(http::SiteRequest request);
  http::SiteClient make_client(const std::string& address) const;
  void learn_nodes(const boost::json::object& body);

  Globals globals_;
  Terminal terminal_;
  Profile profile_;
  std::string folder_;
  std::optional<http::SiteClient> client_;
};

// Between two questions to a site that is busy or under way. Every use has an end: a deadline, or a
// state that ends.
void pause_between_tries(Duration length);

// Fields of answers, as text: numbers and booleans too. Missing and null: empty.
[[nodiscard]] std::string text_of(const boost::json::object& object, std::string_view key);
[[nodiscard]] std::uint64_t number_of(const boost::json::object& object, std::string_view key);
[[nodiscard]] bool flag_of(const boost::json::object& object, std::string_view key);
[[nodiscard]] const boost::json::object& object_of(const boost::json::object& object,
                                                   std::string_view key);
// Only the members that are objects.
[[nodiscard]] std::vector<boost::json::object> list_of(const boost::json::object& object,
                                                       std::string_view key);

}  // namespace everspan::cli
