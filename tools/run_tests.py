"""./dev test [TIER|NAME...]: builds, runs, counts. The last line is "N passed, N failed".

Tiers: lint, link, tools, unit, sim (each of unit and sim also under ASan and UBSan), system, kill
(all kill tables; `system` draws a dozen of them). NAME: part of a test's name. `fencing --rounds 150`:
how often a writer is stopped and woken up.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from devlib import (BUILD, LOGS, ROOT, DevError, become_subreaper, build, kill_children, kill_leftovers,
                    main_guard, say, test_list)

PYTHON = ["/usr/bin/python3", "-B"]
TIERS = ("lint", "link", "tools", "unit", "sim", "system", "kill")
DEFAULT = ("lint", "link", "tools", "unit", "sim", "system")
SIM_SEEDS, SIM_SEEDS_SANITIZED, SIM_SEEDS_CHECK = 10_000, 500, 200
SLOW_SHOWN_S = 20
LEFT_AFTER_S = 600


@dataclass
class Test:
    tier: str
    name: str
    command: list
    seconds: float = 120
    alone: bool = False
    gtest: bool = False
    lines: bool = False  # Counts lines "ok NAME" and "failed NAME".
    env: dict = field(default_factory=dict)


class Result:
    def __init__(self, passed, failed, seconds, log, failures=()):
        self.passed, self.failed, self.seconds, self.log, self.failures = passed, failed, seconds, log, failures


# ---- what there is ------------------------------------------------------------------------------

def cpp_tests(kind, folder, sanitized, seeds):
    tests = []
    for found, name, path in test_list(folder):
        if found != kind:
            continue
        label = f"{name} (asan)" if sanitized else name
        env = {"EVERSPAN_SEEDS": str(seeds)} if kind == "sim" else {}
        if sanitized:
            env |= {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=0",
                    "UBSAN_OPTIONS": "print_stacktrace=1"}
        tests.append(Test(kind, label, [path], seconds=600 if sanitized else 300, gtest=True, env=env))
    return tests


def python_tests(tier, pattern):
    tests = []
    for path in sorted(ROOT.glob(pattern)):
        listed = subprocess.run([*PYTHON, ROOT / "tools/run_unittest.py", path, "--list"], capture_output=True,
                                text=True)
        if listed.returncode != 0:
            raise DevError(f"{path.relative_to(ROOT)} does not load:\n{listed.stderr}")
        for line in listed.stdout.splitlines():
            name, seconds, how = line.split(" ")
            tests.append(Test(tier, f"{path.stem}.{name}",
                              [*PYTHON, str(ROOT / "tools/run_unittest.py"), str(path), name],
                              seconds=float(seconds), alone=how == "alone"))
    return tests


def collect(tiers, args):
    tests = []
    release, dev = BUILD / "release", BUILD / "dev"
    if "lint" in tiers:
        tests.append(Test("lint", "lint", [*PYTHON, str(ROOT / "tools/lint.py")]))
    if "link" in tiers:
        tests.append(Test("link", "link", [*PYTHON, str(ROOT / "tools/link_tests.py"), str(release)], seconds=600,
                          lines=True))
    if "tools" in tiers:
        tests += python_tests("tools", "tests/tools/test_*.py")
    seeds = SIM_SEEDS_CHECK if args.check else SIM_SEEDS
    for kind in ("unit", "sim"):
        if kind in tiers:
            tests += cpp_tests(kind, release, False, seeds)
            if not args.check:
                tests += cpp_tests(kind, dev, True, SIM_SEEDS_SANITIZED)
    if "system" in tiers:
        tests += python_tests("system", "tests/system/test_*.py")
    if "kill" in tiers or "system" in tiers:
        tests += kill_tests(args.seed, everything="kill" in tiers or bool(args.names))
    return tests


def kill_tests(seed, everything):
    """Every cell of the kill tables, or a dozen drawn from the seed."""
    table = ROOT / "tests/system/kill_table.py"
    if not table.is_file():
        return []
    cells = subprocess.run([*PYTHON, table, "--list"], capture_output=True, text=True, check=True).stdout.split()
    if not everything:
        say(f"kill table: a dozen of {len(cells)} cells, drawn with seed {seed}")
        cells = random.Random(seed).sample(cells, min(12, len(cells)))
    return [Test("kill", f"kill {cell}", [*PYTHON, str(table), "--cell", cell, "--seed", str(seed)], seconds=120,
                 alone=False) for cell in cells]


# ---- running ------------------------------------------------------------------------------------

def gtest_counts(report, code):
    """(passed, failed, names) from GoogleTest's JSON; a program that died has no report: one failure."""
    try:
        data = json.loads(Path(report).read_text())
    except (OSError, ValueError):
        return 0, 1, [f"ended with {code} before its report"]
    passed, names = 0, []
    for suite in data["testsuites"]:
        for case in suite["testsuite"]:
            if case.get("failures"):
                names.append(f"{suite['name']}.{case['name']}")
            elif case.get("result") == "COMPLETED":
                passed += 1
            else:  # GTEST_SKIP: told, and not a pass.
                names.append(f"{suite['name']}.{case['name']} was skipped")
    if code != 0 and not names:
        names.append(f"ended with {code}")
    return passed, len(names), names


def end_group(process):
    try:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(5)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    for _ in range(2):
        kill_children(process.pid)
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def run_one(test):
    safe = re.sub(r"[^\w.-]+", "_", test.name)
    log, report = LOGS / "tests" / f"{test.tier}-{safe}.log", LOGS / "tests" / f"{test.tier}-{safe}.json"
    report.unlink(missing_ok=True)
    command = list(map(str, test.command)) + ([f"--gtest_output=json:{report}", "--gtest_brief=1"] if test.gtest else [])
    env = dict(os.environ, EVERSPAN_BUILD=str(BUILD / "release"), PYTHONPATH=str(ROOT / "tools"),
               PYTHONDONTWRITEBYTECODE="1", **test.env)
    started, late = time.monotonic(), False
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env,
                                   cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(test.seconds)
        except subprocess.TimeoutExpired:
            late = True
            end_group(process)
            code = process.returncode
    seconds = time.monotonic() - started
    if late:
        return Result(0, 1, seconds, log, [f"not done after {test.seconds:.0f} s"])
    if test.gtest:
        passed, failed, names = gtest_counts(report, code)
        return Result(passed, failed, seconds, log, names)
    if test.lines:
        words = [line.split(" ", 1) for line in log.read_text(errors="replace").splitlines()]
        bad = [word[1] for word in words if word[0] == "failed"]
        good = sum(1 for word in words if word[0] == "ok")
        return Result(good, len(bad) or int(code != 0), seconds, log, bad or [f"exit {code}"])
    if code == 77:
        return Result(0, 1, seconds, log, ["skipped: " + log.read_text(errors="replace").strip().splitlines()[-1]])
    return Result(1, 0, seconds, log) if code == 0 else Result(0, 1, seconds, log, [f"exit {code}"])


class Runner:
    """Two at a time where that is safe; a test that measures or loads the machine runs alone."""

    def __init__(self, tests, jobs):
        self.tests, self.jobs, self.lock = tests, jobs, threading.Lock()
        self.passed = self.failed = 0
        self.failures, self.done = [], 0

    def take(self, test):
        result = run_one(test)
        with self.lock:
            self.passed += result.passed
            self.failed += result.failed
            self.done += 1
            if result.failed:
                self.failures.append((test, result))
                say(f"FAILED {test.tier}/{test.name}: {'; '.join(result.failures[:5])}")
                tail = result.log.read_text(errors="replace").splitlines()[-25:]
                say("\n".join("    " + line for line in tail))
                say(f"    log: {result.log.relative_to(ROOT)}")
            elif result.seconds > SLOW_SHOWN_S:
                say(f"  {test.tier}/{test.name}: {result.seconds:.0f} s")

    def run(self):
        beside = [test for test in self.tests if not test.alone]
        queue = list(reversed(beside))

        def work():
            while True:
                with self.lock:
                    if not queue:
                        return
                    test = queue.pop()
                self.take(test)

        threads = [threading.Thread(target=work) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            with self.lock:
                queue.clear()  # Those under way end with their processes.
            raise
        for test in self.tests:
            if test.alone:
                self.take(test)


def clean_leftovers():
    """Folders and processes of system tests whose run was killed: nobody holds their instance, and
    nobody touched them for a while."""
    for folder in (BUILD / "system").glob("*-*"):
        number = next(word for word in folder.name.split("-") if word.isdigit())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            try:
                lock.bind(f"\0everspan-demo-{number}")
            except OSError:
                continue
            if time.time() - folder.stat().st_mtime > LEFT_AFTER_S:
                kill_leftovers(folder)
                shutil.rmtree(folder)


def prepare(tiers, args):
    """Builds what the chosen tiers need."""
    if args.no_build:
        return
    wants_programs = {"system", "kill"} & set(tiers)
    if {"link", "unit", "sim", "tools"} & set(tiers) or wants_programs:
        targets = ["load_end", "bad_site"]
        targets += ["unit_tests"] if "unit" in tiers else []
        targets += ["sim_tests"] if "sim" in tiers else []
        targets += ["programs"] if wants_programs else []
        build("release", targets)
    if {"unit", "sim"} & set(tiers) and not args.check:
        build("dev", [f"{kind}_tests" for kind in ("unit", "sim") if kind in tiers])
    if wants_programs:
        import releases
        releases.pair()


def choose(args):
    """(tiers, name filters)"""
    tiers = [word for word in args.what if word in TIERS]
    names = [word for word in args.what if word not in TIERS]
    if names or not tiers:
        tiers = list(dict.fromkeys([*tiers, *DEFAULT]))
    if args.check:
        tiers = ["lint", "link", "tools", "unit", "sim"]
    return tiers, names


def main():
    parser = argparse.ArgumentParser(prog="./dev test", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="TIER|NAME")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1_000_000))
    parser.add_argument("--rounds", type=int, metavar="N", help="of the tests that repeat one thing (fencing; else 2)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    tiers, names = choose(args)
    args.names = names
    if args.rounds is not None:
        os.environ["EVERSPAN_FENCING_ROUNDS"] = str(args.rounds)  # Their limits of time follow it.
    become_subreaper()
    started = time.monotonic()
    (LOGS / "tests").mkdir(parents=True, exist_ok=True)
    clean_leftovers()
    prepare(tiers, args)
    tests = collect(tiers, args)
    if names:
        asked = [word for word in args.what if word in TIERS]
        tests = [test for test in tests
                 if test.tier in asked or any(name in f"{test.tier}/{test.name}" for name in names)]
        if not tests:
            raise DevError(f"no test is called {' or '.join(names)}", 2)
    if args.list:
        for test in tests:
            say(f"{test.tier}/{test.name}")
        return 0
    say(f"{len(tests)} test programs and tests")
    runner = Runner(tests, args.jobs)
    try:
        runner.run()
    finally:
        kill_children()
    say(f"in {time.monotonic() - started:.0f} s")
    if runner.passed == 0 and runner.failed == 0:
        runner.failed = 1
        say("nothing was run")
    say(f"{runner.passed} passed, {runner.failed} failed")
    return 1 if runner.failed else 0


if __name__ == "__main__":
    main_guard(main)
