"""The lint is judged: each rule sees its shape planted, and leaves the allowed one alone."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import lint  # noqa: E402


def rules(text, path="src/relay/x.cc"):
    found = lint.Findings()
    lint.lint_cpp(path, text, found)
    return [line.split(": ")[1] for line in found.errors]


class Lint(unittest.TestCase):
    def test_await_in_a_condition(self):
        self.assertEqual(rules("if (co_await f()) g();"), ["await-in-condition"])
        self.assertEqual(rules("while (n &&\n       !co_await f(x(), y)) {}"), ["await-in-condition", "await-in-logic"])
        self.assertEqual(rules("if (ready) co_await f();"), [])
        self.assertEqual(rules("if (const auto r = co_await f(); r) g();"), [])
        self.assertEqual(rules("// if (co_await f())\nconst char* s = \"if (co_await f())\";"), [])

    def test_await_with_braces_or_a_capturing_lambda(self):
        self.assertEqual(rules("co_await f(Options{.a = 1});"), ["await-with-braces"])
        self.assertEqual(rules("co_await f({1, 2});"), ["await-with-braces"])
        self.assertEqual(rules("co_await f([x] { return x; });"), ["await-with-lambda"])
        self.assertEqual(rules("const auto r = co_await f(a, b[1]);"), [])

    def test_detached(self):
        self.assertEqual(rules("co_spawn(e, f(), asio::detached);"), ["detached"])

    def test_the_wall_clock_belongs_to_net(self):
        text = "const auto now = std::chrono::steady_clock::now();"
        self.assertEqual(rules(text), ["wall-clock"])
        self.assertEqual(rules(text, "src/net/x.cc"), [])
        self.assertEqual(rules("const Time t = event.time(0);"), [])

    def test_one_line_may_opt_out_with_a_reason(self):
        line = "std::this_thread::sleep_for(d);"
        self.assertEqual(rules(line), ["sleep"])
        self.assertEqual(rules("// lint: allow sleep because a signal ends it\n" + line), [])
        self.assertEqual(rules("// lint: allow sleep because\n" + line), ["sleep"])
        self.assertEqual(rules("// lint: allow detached because x y\n" + line), ["sleep"])

    def test_a_core_is_pure(self):
        self.assertEqual(rules("#include <boost/asio/post.hpp>", "src/relay/core/x.cc"), ["core-is-pure"])
        self.assertEqual(rules("#include \"relay/core/types.h\"", "src/relay/core/x.cc"), [])

    def test_a_header_has_its_guard_and_a_file_its_length(self):
        self.assertEqual(rules("int x;", "src/relay/x.h"), ["pragma-once"])
        self.assertEqual(rules("int x;\n" * 501), ["file-length"])

    def test_the_log_is_opened_by_sqlite_only(self):
        self.assertEqual(rules('const int fd = open("log.db", 0);'), ["log-by-sqlite-only"])
        self.assertEqual(rules('const Path log = dir / "log.db";'), [])

    def test_banned_words_and_paths_of_one_machine(self):
        found = lint.Findings()
        lint.lint_text("a.md", "a " + "TO" + "DO here\n/ho" + "me/me/x\nhttp://h/home/x", found)
        self.assertEqual([line.split(": ")[1] for line in found.errors], ["banned-word", "machine-path"])

    def test_layers(self):
        found = lint.Findings()
        text = '#include "upgrade/runner.h"\n#include "common/result.h"\n'
        lint.lint_layers(["src/store/planted.cc"], {"src/store/planted.cc": text}, found)
        self.assertEqual(len(found.errors), 1)
        self.assertIn("store does not declare upgrade", found.errors[0])


if __name__ == "__main__":
    unittest.main()
