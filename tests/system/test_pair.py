"""Two real appliances: joining, shipping, handing over, one of them away; seen through the CLI and the API."""
import json
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from process import wait_until  # noqa: E402


class Pair(PairTest):
    def test_a_joined_node_gets_the_site_and_acknowledges_with_the_primary(self):
        status = self.stage.failover_status()
        self.assertEqual(status["role"], "primary")
        self.assertEqual(self.stage.failover_status(self.stage.address_b)["role"], "backup")
        written = self.put("site.banner", "both have it")
        self.assertEqual(len(written["stores"]), 2, written)
        wait_until(lambda: self.get("site.banner", self.stage.address_b) == "both have it", 5, "the write at B")

    def test_the_backup_takes_over_when_asked_and_writes_go_there(self):
        self.put("site.banner", "before")
        report = self.become("become-primary", self.stage.address_b)
        self.assertEqual(report["role"], "primary")
        wait_until(lambda: self.stage.failover_status()["role"] == "backup", 5, "A to be the backup")
        written = self.put("site.banner", "after", self.stage.address_b)
        self.assertEqual(len(written["stores"]), 2, written)
        self.assertEqual(self.get("site.banner", self.stage.address_b), "after")
        self.become("become-primary", self.stage.address)
        self.assertEqual(self.get("site.banner"), "after")
        self.assertGreater(self.stage.failover_status()["epoch"], 1)

    def test_the_primary_goes_on_alone_and_the_backup_catches_up(self):
        self.stage.signal_node("b", signal.SIGKILL)
        wait_until(lambda: len(self.stage.failover_status()["in_sync"]) == 1, 20, "A alone in the register")
        alone = self.put("site.banner", "while B was away")
        self.assertEqual(len(alone["stores"]), 1, "it says who has it")
        self.stage.start_base_b()
        self.stage.wait_in_sync()
        wait_until(lambda: self.get("site.banner", self.stage.address_b) == "while B was away", 10, "the write at B")

    def test_a_backup_that_was_in_sync_holds_up_writes_for_a_while_only(self):
        self.stage.signal_node("b", signal.SIGSTOP)
        written = self.put("site.banner", "B hangs", seconds=20)
        self.assertEqual(len(written["stores"]), 1)
        self.stage.signal_node("b", signal.SIGCONT)
        self.stage.wait_in_sync()
        self.assertEqual(len(self.put("site.banner", "B is back")["stores"]), 2)

    def test_a_wrong_key_and_a_strange_node_are_refused(self):
        wrong = self.stage.folder / "wrong.key"
        wrong.write_text("A" * 43 + "\n")
        wrong.chmod(0o600)
        self.stage.run_cli("--yes", "failover", "break")
        done = self.stage.run_cli("failover", "establish", "--backup", self.stage.address_b, "--reverse",
                                  self.stage.address, "--key-file", wrong, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("key", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
