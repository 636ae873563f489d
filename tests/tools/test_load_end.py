"""load_end against itself, through a good pipe and through pipes that damage what passes."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_evidence as judge  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
LOAD_END = Path(os.environ.get("EVERSPAN_BUILD", ROOT / "build/release")) / "tools/load_end"
# Stands between console and far end; acts once, on the bytes from far end to console.
DAMAGE = """
import subprocess, sys, threading
how, argv = sys.argv[1], sys.argv[2:]
child = subprocess.Popen(argv, stdin=sys.stdin.buffer.fileno(), stdout=subprocess.PIPE, bufsize=0)
passed = 0
while piece := child.stdout.read(100):
    if passed < 5000 <= passed + len(piece):
        piece = {"drop": piece[10:], "repeat": piece + piece, "flip": b"X" + piece[1:]}[how]
    passed += len(piece)
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
sys.exit(child.wait())
"""


class LoadEnd(unittest.TestCase):
    def run_load(self, sessions, *wrap, seconds=1.5, stop="stop\n"):
        with tempfile.TemporaryDirectory(prefix="everspan-load-") as folder:
            far = [*wrap, str(LOAD_END), "agent", "--session", "{session}", "--seed", "{seed}",
                   "--interval-ms", "20", "--evidence", f"{folder}/agent-{{session}}.jsonl"]
            load = subprocess.Popen(
                [str(LOAD_END), "console", "--prefix", "c1", "--sessions", str(sessions), "--interval-ms", "20",
                 "--finish-s", "5", "--evidence", f"{folder}/console-c1.jsonl", "--errors", f"{folder}/errors",
                 "--", *far], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            try:
                self.assertEqual(load.stdout.readline(), f"ready {sessions}\n")
                try:
                    load.wait(seconds)  # The load runs for this long.
                    self.fail("the load ended by itself")
                except subprocess.TimeoutExpired:
                    pass
                out, _ = load.communicate(stop, timeout=20)
            finally:
                load.kill()
                load.wait()
            problems = []
            streams, events = judge.read_load(folder, problems)
            self.assertEqual(problems, [])
            return load.returncode, out, judge.check_bytes(streams), judge.check_sessions(streams, events, problems)

    def test_a_clean_pipe_loses_nothing_both_ways(self):
        code, out, data, sessions = self.run_load(20)
        self.assertEqual((code, out), (0, "closed 20 20\n"))
        self.assertGreater(data["sent"], 20 * 2 * 20 * 100)
        self.assertEqual(data["delivered"], data["sent"])
        self.assertEqual([data[k] for k in ("lost", "repeated", "reordered", "foreign")], [0, 0, 0, 0])
        self.assertEqual((sessions["total"], sessions["dropped"]), (20, 0))

    def test_the_end_of_its_input_ends_the_load_in_order(self):
        code, out, _, _ = self.run_load(2, stop="")
        self.assertEqual((code, out), (0, "closed 2 2\n"))

    def test_dropped_bytes_are_seen(self):
        _, _, data, _ = self.run_load(1, sys.executable, "-c", DAMAGE, "drop")
        self.assertGreater(data["lost"], 0)

    def test_repeated_bytes_are_seen(self):
        _, _, data, _ = self.run_load(1, sys.executable, "-c", DAMAGE, "repeat")
        self.assertGreater(data["lost"] + data["foreign"], 0)

    def test_a_changed_byte_is_seen(self):
        _, _, data, _ = self.run_load(1, sys.executable, "-c", DAMAGE, "flip")
        self.assertGreater(data["lost"], 0)
        self.assertGreater(data["foreign"], 0)

    def test_a_far_end_that_dies_is_a_dropped_session(self):
        code, out, _, sessions = self.run_load(
            1, "/bin/sh", "-c", 'timeout -s KILL 1 "$@" || exit 9', "sh")
        self.assertEqual(code, 1)
        self.assertIn("dropped c1-0", out)
        self.assertEqual(sessions["dropped"], 1)


if __name__ == "__main__":
    unittest.main()
