"""The line between the two appliances is cut, both ways and one way: never two that write, nothing that was
acknowledged is lost, each says what is true, and both are one pair again when the line is back."""
import os
import random
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from namespaces import TwoMachinesStage  # noqa: E402
from pair_fixture import PairTest  # noqa: E402
from site_fixture import ROOT  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/tools"))
import check_evidence  # noqa: E402
from process import Child, wait_until  # noqa: E402

ALONE_S, WHOLE_S = 30, 60
HAND_OVERS = 5
CUT_S = (0.3, 8.0)  # Shorter and longer than a primary waits before it goes on alone.


@unittest.skipUnless(os.geteuid() == 0, "network namespaces are made by root")
class Partition(PairTest):
    kind = TwoMachinesStage
    seconds = 240

    def setUp(self):
        super().setUp()
        self.stage.start_witnesses(write_ms=20, probes=0, person=False)

    def said(self, which):
        return self.stage.failover_status(self.stage.nodes()[which]) or {}

    def await_whole(self):
        def whole():
            roles = sorted(self.said(which).get("role", "") for which in "ab")
            return roles == ["backup", "primary"] and all(len(self.said(which)["in_sync"]) == 2 for which in "ab")

        wait_until(whole, WHOLE_S, "one primary, one backup, and both in sync", every=0.2)

    def finish(self):
        """By what the writer wrote down: nobody was answered by two, and nothing is gone."""
        self.stage.stop_load()
        problems, folder = [], str(self.stage.evidence)
        report = check_evidence.check_writes(folder, None, False, problems)
        self.assertEqual((problems, report["lost"], report["duplicated"], report["shared_revisions"]), ([], 0, 0, 0))
        lines = [line for line in check_evidence.read_lines(f"{folder}/writer.jsonl", problems) if line["t_ack"]]
        self.assertGreater(len(lines), 5)  # Most of the time somebody waits.
        for before, after in zip(lines, lines[1:]):  # One writer at a time: each answer is newer than the one before.
            self.assertLess((before["epoch"], before["revision"]), (after["epoch"], after["revision"]))
        stores = [len(line["stores"]) for line in lines]
        self.assertEqual(stores[-1], 2, "in the end both have it again")
        return stores

    def cut_and_heal(self, *directions):
        self.stage.net.cut(*directions)
        wait_until(lambda: self.said("a").get("in_sync") == [self.said("a")["node"]["id"]], ALONE_S, "A alone", every=0.2)
        a, b = self.said("a"), self.said("b")
        self.assertEqual((a["role"], b["role"]), ("primary", "backup"))
        self.assertFalse(b["peer"]["connected"], b)
        alone = self.put("site.banner", "A is alone")
        self.assertEqual(alone["stores"], [a["node"]["id"]])
        refused = self.cli_at(self.stage.address_b, "settings", "put", "site.banner", "at B", check=False)
        self.assertEqual(self.get("site.banner"), "A is alone" if refused.returncode else "at B", refused.stdout)
        self.stage.net.heal()
        self.await_whole()
        wait_until(lambda: self.get("site.banner", self.stage.address_b) == self.get("site.banner"), 10, "the write at B")
        stores = self.finish()
        self.assertIn(1, stores)

    def test_no_way(self):
        self.cut_and_heal("ab", "ba")

    def test_one_way_from_the_primary(self):
        self.cut_and_heal("ab")

    def test_one_way_to_the_primary(self):
        self.cut_and_heal("ba")

    def test_at_drawn_moments_of_a_hand_over(self):
        seed = random.SystemRandom().randrange(1, 1_000_000)
        print(f"seed {seed}")
        draw, target = random.Random(seed), "b"
        for number in range(HAND_OVERS):
            ways = draw.choice([("ab", "ba"), ("ab",), ("ba",)])
            wait, held = draw.uniform(0, 0.12), draw.uniform(*CUT_S)
            command = self.stage.cli_at(self.stage.nodes()[target])("--yes", "failover", "become-primary", json=True)
            asked = Child("become-primary", command, self.stage.logs / f"become-{number}.log", env=self.stage.env)
            until = time.monotonic() + wait
            while time.monotonic() < until:  # The moment is what is drawn.
                pass
            self.stage.cut_for(held, *ways)
            while self.stage.heal_in_time():
                roles = [self.said(which).get("role") for which in "ab"]
                time.sleep(0.1)
            self.assertIsNotNone(asked.wait(90), "become-primary never ended")
            self.await_whole()
            primary = next(which for which in "ab" if self.said(which)["role"] == "primary")
            print(f"{ways} after {wait:.3f} s for {held:.1f} s: roles {roles}, then {primary} is primary")
            target = "a" if primary == "b" else "b"
        self.finish()


if __name__ == "__main__":
    unittest.main()
