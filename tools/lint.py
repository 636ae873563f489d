"""./dev lint: format and house rules. `--fix-format` rewrites the format (./dev fmt).

Each rule is one function over the text of a file or over the tree; STYLE numbers are in the messages.
A line may opt out of one rule with a reason: `// lint: allow RULE because ...`.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devlib import ROOT, DevError, main_guard, say

CODE = (".cc", ".h")
LINES_MAX = 500
LINES_WARN = 400
ALLOW = re.compile(r"lint: allow (\S+) because \S")


def tracked():
    """Files of the project: tracked, or new and not ignored."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT,
                         capture_output=True, check=True).stdout.decode()
    return sorted(path for path in set(out.split("\0")) if path and (ROOT / path).is_file())


class Findings:
    def __init__(self):
        self.errors, self.warnings = [], []

    def add(self, path, number, rule, text):
        self.errors.append(f"{path}:{number}: {rule}: {text}")

    def warn(self, path, number, rule, text):
        self.warnings.append(f"{path}:{number}: {rule}: {text}")


def strip_comments_and_strings(text):
    """Same length and lines; comments and literals become spaces, so that patterns see code only."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\((?:.*?)\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])\'',
                         re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


# ---- rules over one C++ file --------------------------------------------------------------------

AWAIT = [
    ("await-in-logic", re.compile(r"(&&|\|\|)\s*!?\(?\s*co_await\b"), "T1"),
    ("await-with-braces", re.compile(r"\bco_await\b[^;]*[({,]\s*(?:[A-Z]\w*(?:::\w+)*\s*)?\{"), "T2, T4"),
    ("await-with-lambda", re.compile(r"\bco_await\b[^;]*\[[^\]]+\]\s*[({]"), "T3"),
]
# One pattern a rule: (rule, pattern, folders where it is allowed, message)
PATTERNS = [
    ("detached", re.compile(r"\basio::detached\b"), (), "spawn into a net::TaskScope (T9)"),
    ("wall-clock", re.compile(r"\b(?:std::chrono::)?(?:system_clock|steady_clock|high_resolution_clock)::now\b|\bgettimeofday\s*\(|\bclock_gettime\s*\(|[^\w.]time\s*\(\s*(?:nullptr|NULL|0)\s*\)"),
     ("src/net/", "src/common/", "apps/", "tests/", "bench/"), "time comes from net/ or as an argument"),
    ("random", re.compile(r"\bstd::rand\b|[^\w:]s?rand\s*\(|\brandom_device\b"),
     ("src/net/", "src/common/", "tests/", "bench/"), "randomness comes from common/random.h or crypto.h"),
    ("sleep", re.compile(r"\bthis_thread::sleep|\busleep\s*\(|\bnanosleep\s*\("), ("tests/tools/",),
     "wait for a condition with a deadline"),
    ("catch-all", re.compile(r"catch\s*\(\s*\.\.\.\s*\)\s*\{\s*\}"), (), "an error is swallowed"),
]
CORE_FORBIDDEN = re.compile(
    r'#include\s*[<"](boost/asio|boost/beast|sqlite3|openssl|thread|mutex|fstream|filesystem|unistd|sys/|net/|store/|fcntl)')


CONDITION = re.compile(r"\b(?:if|while|switch)\s*(?:constexpr\s*)?\(")


def conditions(code):
    """(place, text) of each condition, by matching parentheses; `if (auto r = co_await f(); r)` is fine."""
    for match in CONDITION.finditer(code):
        depth, at = 1, match.end()
        while at < len(code) and depth:
            depth += {"(": 1, ")": -1}.get(code[at], 0)
            at += 1
        text = code[match.end():at]
        yield match.end() + text.rfind(";") + 1, text[text.rfind(";") + 1:]


def lint_cpp(path, text, found):
    lines = text.split("\n")
    code = strip_comments_and_strings(text)
    code_lines = code.split("\n")

    def add(number, rule, message):
        here = lines[max(0, number - 2):number]
        if not any(ALLOW.search(line) and ALLOW.search(line)[1] == rule for line in here):
            found.add(path, number, rule, message)

    for at, condition in conditions(code):
        if re.search(r"\bco_await\b", condition):
            add(code.count("\n", 0, at + condition.find("co_await")) + 1, "await-in-condition",
                "a co_await stands alone (T1)")
    for rule, pattern, where in AWAIT:
        for match in pattern.finditer(code):
            at = code.rfind("co_await", 0, match.end()) if "await" in match.group() else match.start()
            add(code.count("\n", 0, at) + 1, rule, f"a co_await stands alone ({where})")
    for rule, pattern, allowed, message in PATTERNS:
        if any(path.startswith(folder) for folder in allowed):
            continue
        for number, line in enumerate(code_lines, 1):
            if pattern.search(line):
                add(number, rule, message)
    if path.endswith(".h") and not re.search(r"^#pragma once$", text, re.M):
        add(1, "pragma-once", "a header begins with a comment and `#pragma once`")
    if "/core/" in path and not path.endswith("_test.cc"):
        for number, line in enumerate(lines, 1):
            if CORE_FORBIDDEN.search(line) and "/core/" not in line:
                add(number, "core-is-pure", f"a core may not use {line.strip()}")
    if re.search(r"log\.db", text) and not path.startswith(("src/store/", "tests/")):
        for number, line in enumerate(lines, 1):
            if re.search(r'(open|ifstream|ofstream|copy_file|read_file|rename|unlink|fopen)[^\n]*log\.db', line):
                add(number, "log-by-sqlite-only", "no process opens log.db but through SQLite (DESIGN section 3)")
    length = len(lines)
    if length > LINES_MAX:
        found.add(path, length, "file-length", f"{length} lines; split it by idea (at most {LINES_MAX})")
    elif length > LINES_WARN:
        found.warn(path, length, "file-length", f"{length} lines; aim under {LINES_WARN}")


# ---- layers -------------------------------------------------------------------------------------

def modules():
    """name -> (folder, layer, deps, core deps) as the module's CMakeLists.txt declares."""
    out = {}
    for cmake in sorted((ROOT / "src").rglob("CMakeLists.txt")):
        # The words of the call may name CMake variables; only plain names count here.
        match = re.search(r"everspan(?:_pure)?_module\(([^)]*)\)", re.sub(r"#[^\n]*", "", cmake.read_text()))
        if not match:
            continue
        words, key, fields = match[1].split(), None, {}
        for word in words:
            if word.isupper() and "_" in word or word in ("NAME", "LAYER", "DEPS", "EXTERNAL"):
                key = word
                fields[key] = []
            elif key:
                fields[key].append(word)
        folder = cmake.parent.relative_to(ROOT / "src").as_posix()
        out[fields["NAME"][0]] = (folder, int(fields["LAYER"][0]), set(fields.get("DEPS", [])),
                                  set(fields.get("CORE_DEPS", [])))
    return out


def closure(name, graph):
    seen, queue = set(), [name]
    while queue:
        for dep in graph[queue.pop()][2] | graph[name][3]:
            if dep in graph and dep not in seen:
                seen.add(dep)
                queue.append(dep)
    return seen


def owner_of(path, by_folder):
    """The module whose folder holds this path below src/, the deepest one."""
    parts = path.split("/")
    for size in range(len(parts), 0, -1):
        name = by_folder.get("/".join(parts[:size]))
        if name:
            return name
    return None


def lint_layers(paths, texts, found):
    """#include lines against declared dependencies: the linker does not see header-only use."""
    graph = modules()
    by_folder = {folder: name for name, (folder, *_rest) in graph.items()}
    for path in paths:
        if not path.startswith("src/") or not path.endswith(CODE):
            continue
        name = owner_of(path[4:], by_folder)
        if not name:
            continue
        _, layer, deps, core_deps = graph[name]
        test = path.endswith("_test.cc") or path.endswith(("_test_world.h", "_test_world.cc"))
        for number, line in enumerate(texts[path].split("\n"), 1):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            other = owner_of(match[1], by_folder)
            if other is None or other == name:
                continue
            in_core = "/core/" in path
            declared = core_deps if in_core else closure(name, graph) | core_deps
            if other not in declared and not (test and graph[other][1] < layer):
                found.add(path, number, "layer", f"{name} does not declare {other} "
                          f"({'CORE_DEPS' if in_core else 'DEPS'} in its CMakeLists.txt)")
            if in_core and "/core/" not in match[1] and graph[other][1] > 1:
                found.add(path, number, "layer", f"a core uses cores only, not {match[1]}")
            if "/detail/" in match[1]:
                found.add(path, number, "layer", f"{match[1]} is private to {other}")


# ---- rules over any text ------------------------------------------------------------------------

BANNED = [("FIX" + "ME", "finish it or leave it out"), ("X" * 3, "finish it or leave it out"),
          ("TO" + "DO", "finish it or leave it out")]
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|home|root|Users)/[\w.-]+")
TEXT_SUFFIXES = CODE + (".py", ".sh", ".md", ".txt", ".cmake", ".proto", ".toml", ".json", ".service", ".yaml", "")


def lint_text(path, text, found):
    for number, line in enumerate(text.split("\n"), 1):
        for word, message in BANNED:
            if re.search(rf"\b{word}\b", line) and not ALLOW.search(line):
                found.add(path, number, "banned-word", f"{word}: {message}")
        match = MACHINE_PATH.search(line)
        if match and not ALLOW.search(line):
            found.add(path, number, "machine-path", f"{match.group()} exists on one machine only")


def lint_map(found):
    """Every folder of src/ is in docs/architecture.md's table, and every folder there exists."""
    path = "docs/architecture.md"
    if not (ROOT / path).is_file():
        found.add(path, 1, "map", "the map is missing")
        return
    text = (ROOT / path).read_text()
    listed, in_table = set(), False
    for line in text.split("\n"):
        in_table = line.startswith("| folder") or (in_table and line.startswith("|"))
        match = re.match(r"\|\s*`([\w./-]+?)/?`", line)
        if in_table and match:
            listed.add(match[1])
    for name in listed:
        if not (ROOT / name).is_dir() and not (ROOT / name).is_file():
            found.add(path, 1, "map", f"{name} is in the table and does not exist")
    for cmake in sorted((ROOT / "src").rglob("CMakeLists.txt")):
        folder = cmake.parent.relative_to(ROOT).as_posix()
        if folder not in listed:
            found.add(path, 1, "map", f"{folder} is not in the table")
        readme = cmake.parent / "README.md"
        if not readme.is_file():
            found.add(folder, 1, "readme", "a module has a README.md of half a page")


def lint_format(paths, found, fix):
    tool = shutil.which("clang-format-19")
    if not tool:
        raise DevError("clang-format-19 is missing: ./dev build installs it", 3)
    files = [path for path in paths if path.endswith(CODE)]

    def check(path):
        command = [tool, "-i", path] if fix else [tool, "--dry-run", "-Werror", path]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            number = re.search(r":(\d+):\d+: ", done.stderr)
            found.add(path, number[1] if number else 1, "format", "./dev fmt mends it")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(check, files))


def lint_shell(paths, found):
    tool = shutil.which("shellcheck")
    if not tool:
        raise DevError("shellcheck is missing: apt-get install shellcheck", 3)
    scripts = [path for path in paths
               if path.endswith(".sh") or (ROOT / path).read_bytes()[:32].startswith((b"#!/usr/bin/env bash", b"#!/bin/sh"))]
    done = subprocess.run([tool, "-f", "gcc", *scripts], cwd=ROOT, capture_output=True, text=True)
    found.errors += done.stdout.splitlines()


def main():
    parser = argparse.ArgumentParser(prog="./dev lint")
    parser.add_argument("--fix-format", action="store_true", help="rewrite the format only")
    parser.add_argument("paths", nargs="*", help="only findings in these files or folders")
    args = parser.parse_args()
    found = Findings()
    paths = tracked()
    if args.fix_format:
        lint_format(paths, found, fix=True)
        for error in found.errors:
            say(error)
        return 1 if found.errors else 0
    texts = {}
    for path in paths:
        if Path(path).suffix in TEXT_SUFFIXES and path != "LICENSE":
            try:
                texts[path] = (ROOT / path).read_text()
            except UnicodeDecodeError:
                continue
            lint_text(path, texts[path], found)
        if path.endswith(CODE):
            lint_cpp(path, texts[path], found)
    lint_layers(paths, texts, found)
    lint_map(found)
    lint_format(paths, found, fix=False)
    lint_shell(paths, found)

    def wanted(line):
        return not args.paths or any(line.startswith(p.rstrip("/")) for p in args.paths)

    for line in filter(wanted, sorted(found.warnings)):
        say(f"warning: {line}")
    errors = list(filter(wanted, sorted(found.errors)))
    for line in errors:
        say(line)
    say(f"lint: {len(paths)} files, {len(errors)} findings")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main_guard(main)
