"""EIO on the fsync of the log while a writer writes and sessions run. Nobody knows then what is on the
disk, so the process must end (exit 71); base starts it again; the log is copied to a new file first;
nothing that was acknowledged is lost, and the sessions go on."""
import http.client
import os
import random
import re
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill_table import Failpoints, settle  # noqa: E402
from site_fixture import make_stage  # noqa: E402
import check_evidence  # noqa: E402
import commands  # noqa: E402
from https import ApiError  # noqa: E402
from process import wait_until  # noqa: E402

SEED, ROUNDS = 1, 3
BETWEEN = (OSError, ApiError, http.client.HTTPException)


class LogIoError(unittest.TestCase):
    seconds = 240

    def setUp(self):
        self.stage = make_stage(sessions=24, interval_ms=50, seed=SEED, within=True)
        self.addCleanup(self.clean)
        self.failpoints = Failpoints(self.stage, ["log.sync"], "error")
        self.stage.start_depot()
        self.stage.start_site()
        self.stage.start_agents()
        self.stage.start_load()
        self.stage.start_witnesses(write_ms=5, probes=0, person=False)
        self.stage.mark("ready")
        self.stage.write_run("single", [commands.sha256_file(self.stage.new.bin / "everspan-site")], "any")
        self.client = self.stage.client(timeout=5)
        self.good = False

    def clean(self):
        if not self.good:
            for log in sorted(self.stage.logs.glob("*.log")) + sorted((self.stage.folder / "a/run").glob("*.log")):
                print(f"---- {log.name}\n{log.read_bytes()[-2500:].decode(errors='replace')}")
        self.stage.tear_down()
        if self.good:
            shutil.rmtree(self.stage.folder)

    def active(self):
        """Pid of the process that serves, or None while nobody does."""
        try:
            status = self.client.call("GET", "/api/v1/status")
        except BETWEEN:
            return None
        return next((slot["pid"] for slot in status["slots"] if slot["role"] == "active"), None)

    def acknowledged(self):
        return (self.stage.evidence / "writer.jsonl").read_bytes().count(b"\n")

    def site_log(self, pid):
        found = list((self.stage.folder / "a/run").glob(f"site-*{pid}.log"))
        self.assertEqual(len(found), 1, found)
        return found[0].read_text()

    def strike(self, nth):
        data = self.stage.folder / "a"
        before, inode = wait_until(self.active, 20, "somebody who serves"), (data / "log.db").stat().st_ino
        self.failpoints.strike_at(nth)
        wait_until(self.failpoints.struck, 30, f"the {nth}th fsync from now")
        after = wait_until(lambda: (pid := self.active()) != before and pid, 30, "a process that serves again")
        self.assertNotEqual((data / "log.db").stat().st_ino, inode, "the log must lie in a new file")
        left = sorted(path.name for path in data.glob("log.db*") if re.search(r"\.(suspect|replacing|new)", path.name))
        self.assertEqual(left, [])
        said = self.site_log(after)
        self.assertIn("log.copied_after_io_error", said)
        self.assertLess(said.index("log.copied_after_io_error"), said.index("site.serving"))
        self.assertIn("log.failed", self.site_log(before))
        written = self.acknowledged()
        wait_until(lambda: self.acknowledged() > written + 200, 30, "writes that go on")
        print(f"fsync {nth} failed: process {before} -> {after}")

    def test_the_process_ends_and_comes_back_whole(self):
        draw = random.Random(SEED)
        for _ in range(ROUNDS):
            self.strike(draw.randint(5, 200))
        ends = re.findall(r"exit 71", (self.stage.logs / "base.log").read_text())
        self.assertGreaterEqual(len(ends), ROUNDS, "base saw each of them end by itself")
        settle(self.stage)
        time.sleep(1)
        self.stage.stop_load()
        self.stage.collect_recordings()
        report = check_evidence.check(str(self.stage.evidence))
        print(f"sessions {report['sessions']}; bytes {report['bytes']}; writes {report['writes']}")
        self.assertEqual((report["sessions"]["total"], report["sessions"]["dropped"]), (24, 0))
        for kind in ("lost", "repeated", "reordered"):
            self.assertEqual(report["bytes"][kind], 0, kind)
        self.assertEqual((report["writes"]["lost"], report["writes"]["duplicated"]), (0, 0))
        self.assertGreater(report["writes"]["acknowledged"], 600)
        self.good = True


if __name__ == "__main__":
    unittest.main()
