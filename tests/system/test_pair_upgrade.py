"""A real pair is upgraded by one command, both methods, while somebody writes; and goes back."""
import json
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from site_fixture import ROOT  # noqa: E402
import commands  # noqa: E402

APPLY_S = 150


class PairUpgrade(PairTest):
    seconds = 300
    within = False

    def start(self):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))
        self.stage.start_witnesses(write_ms=50, probes=20, person=False)

    def apply(self, method):
        done = self.stage.run(commands.apply(self.stage.cli, self.stage.new.version, 2, method), check=False,
                              seconds=APPLY_S)
        self.assertEqual(done.returncode, 0, done.stdout[-3000:] + done.stderr[-2000:])
        for address in (self.stage.address, self.stage.address_b):
            about = json.loads(self.cli_at(address, "status").stdout)
            self.assertEqual(about["node"]["version"], self.stage.new.version, address)

    def lines(self, name):
        return [json.loads(line) for line in (self.stage.evidence / name).read_text().splitlines()]

    def finish(self):
        """Nobody was refused or waited in vain, and each acknowledgement had two stores behind it."""
        self.stage.stop_load()
        writes = self.lines("writer.jsonl")
        self.assertEqual([line for line in writes if line["revision"] is None], [])
        self.assertGreater(len(writes), 20)
        self.assertEqual({len(line["stores"]) for line in writes}, {2})
        last = {line["key"]: line["value"] for line in writes}
        for address in (self.stage.address, self.stage.address_b):
            key = writes[-1]["key"]
            self.assertEqual(self.get(key, address), last[key], address)
        read = json.loads((self.stage.evidence / "settings_final.json").read_text())["settings"]
        self.assertEqual({key: kept["value"] for key, kept in read.items()}, last)
        probes = self.lines("prober.jsonl")
        self.assertEqual({line["addr"] for line in probes}, {self.stage.address, self.stage.address_b})
        self.assertEqual([line for line in probes if line["outcome"] != "ok"], [])

    def test_backup_first_then_the_other(self):
        self.start()
        self.apply("async")
        self.assertEqual(self.stage.failover_status(self.stage.address_b)["role"], "primary")
        self.finish()

    def test_primary_first_without_a_change_of_role(self):
        self.start()
        self.apply("sync")
        self.assertEqual(self.stage.failover_status()["role"], "primary")
        self.finish()


class SessionsOverThePair(PairUpgrade):
    """Sessions under load while the backup is upgraded, the roles change and the other is upgraded."""

    agents = True
    sessions = 12

    def test_backup_first_then_the_other(self):
        self.stage.start_load()
        self.start()
        self.stage.mark("ready")
        self.stage.write_run("async", [commands.sha256_file(self.stage.new.bin / "everspan-site")], "upgraded")
        self.stage.mark("apply")
        self.apply("async")
        # A new session comes by the new primary: the agents' standing links have followed it.
        done = self.cli_at(self.stage.address_b, "connect", "desk-1", "-T", "--", "echo", "over B", check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "over B\n"), done.stderr)
        self.finish()
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
