"""A real pair is upgraded by one command, both methods, while somebody writes; and goes back."""
import json
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from site_fixture import ROOT  # noqa: E402
import commands  # noqa: E402

APPLY_S = 150


class Writer(threading.Thread):
    """Writes numbered values, one after the other, at whichever appliance takes them."""

    def __init__(self, test):
        super().__init__(daemon=True)
        self.test, self.stop_now = test, threading.Event()
        self.acknowledged, self.stores, self.refused = [], [], []

    def run(self):
        number = 0
        while not self.stop_now.is_set():
            number += 1
            done = self.test.cli_at(None, "settings", "put", "site.banner", f"value {number}", check=False)
            if done.returncode == 0:
                self.acknowledged.append(number)
                self.stores.append(len(json.loads(done.stdout)["stores"]))
            else:
                self.refused.append(done.stderr.strip()[-200:])
            time.sleep(0.05)

    def finish(self):
        self.stop_now.set()
        self.join(30)


class PairUpgrade(PairTest):
    def upgrade(self, method):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))
        writer = Writer(self)
        writer.start()
        try:
            done = self.stage.run_cli("--yes", "upgrade", "apply", "--to", self.stage.new.version, "--soak", "2s",
                                      "--finalize", "--method", method, check=False, seconds=APPLY_S)
        finally:
            writer.finish()
        return done, writer

    def check(self, method):
        done, writer = self.upgrade(method)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-2000:])
        for address in (self.stage.address, self.stage.address_b):
            about = json.loads(self.cli_at(address, "status").stdout)
            self.assertEqual(about["node"]["version"], self.stage.new.version, address)
        self.assertEqual(writer.refused, [])
        self.assertGreater(len(writer.acknowledged), 20)
        self.assertNotIn(1, writer.stores, "each acknowledgement had two stores behind it")
        last = f"value {writer.acknowledged[-1]}"
        self.assertEqual(self.get("site.banner"), last)
        self.assertEqual(self.get("site.banner", self.stage.address_b), last)

    def test_backup_first_then_the_other(self):
        self.check("async")
        self.assertEqual(self.stage.failover_status(self.stage.address_b)["role"], "primary")

    def test_primary_first_without_a_change_of_role(self):
        self.check("sync")
        self.assertEqual(self.stage.failover_status()["role"], "primary")


class SessionsOverThePair(PairUpgrade):
    """Sessions under load while the backup is upgraded, the roles change and the other is upgraded."""

    agents = True
    sessions = 12

    def test_backup_first_then_the_other(self):
        self.stage.start_load()
        self.stage.mark("ready")
        self.stage.write_run("async", [commands.sha256_file(self.stage.new.bin / "everspan-site")], "upgraded")
        self.stage.mark("apply")
        self.check("async")
        # A new session comes by the new primary: the agents' standing links have followed it.
        done = self.cli_at(self.stage.address_b, "connect", "desk-1", "-T", "--", "echo", "over B", check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "over B\n"), done.stderr)
        self.stage.stop_load()
        report_file = self.stage.folder / "report.json"
        subprocess.run(["/usr/bin/python3", "-B", str(ROOT / "tests/tools/check_evidence.py"),
                        str(self.stage.evidence), "--quiet", "--json", str(report_file)], capture_output=True)
        report = json.loads(report_file.read_text())
        self.assertEqual(report["sessions"]["total"], self.sessions)
        self.assertEqual(report["sessions"]["dropped"], 0)
        for key in ("lost", "repeated", "reordered", "foreign"):
            self.assertEqual(report["bytes"][key], 0, key)

    test_primary_first_without_a_change_of_role = None


if __name__ == "__main__":
    unittest.main()
