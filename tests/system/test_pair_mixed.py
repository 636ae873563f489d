"""The two nodes of a pair run different releases: the pinned one and this tree (DESIGN section 8)."""
import json
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from pair_stage import PairStage  # noqa: E402
from process import wait_until  # noqa: E402
import commands  # noqa: E402


class NewBackup(PairStage):
    """B is of the next release from its first start."""

    def start_base_b(self, release=None):
        super().start_base_b(release or self.new)


class NewBackupUnderTheOldPrimary(PairTest):
    kind, within, agents = NewBackup, False, True

    def releases(self):
        return [self.stage.status(address)["node"]["version"] for address in self.stage.nodes().values()]

    def over(self, address, text):
        done = self.cli_at(address, "connect", "desk-1", "-T", "--", "echo", text, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, text + "\n"), done.stderr)

    def test_both_have_each_write_and_the_roles_change_both_ways(self):
        self.assertEqual(self.releases(), [self.stage.old.version, self.stage.new.version])
        a, b = self.stage.nodes().values()
        self.assertEqual(len(self.put("site.note.n1", "old primary")["stores"]), 2)
        self.over(a, "an old agent and console at the old primary")
        self.become("become-primary", b)
        self.assertEqual(len(self.put("site.note.n2", "new primary", b)["stores"]), 2)
        wait_until(lambda: self.get("site.note.n2", a) == "new primary", 10, "the write at the old backup")
        new_cli = commands.Cli(self.stage.new.bin / "everspan", b, "demo")
        listed = json.loads(self.stage.run(new_cli("endpoint", "list", json=True)).stdout)
        self.assertEqual(len(listed["endpoints"]), 2)
        # Nothing that the old one does not know is written before `finalize`.
        refused = self.stage.run(new_cli("endpoint", "note", "desk-1", "x", json=True), check=False)
        self.assertIn("feature_not_yet", refused.stdout + refused.stderr)
        self.become("become-primary", a)
        self.assertEqual(len(self.put("site.note.n3", "old primary again")["stores"]), 2)
        for key, value in (("n1", "old primary"), ("n2", "new primary"), ("n3", "old primary again")):
            for address in (a, b):
                wait_until(lambda at=address, k=key, v=value: self.get(f"site.note.{k}", at) == v, 10,
                           f"{key} at {address}")


class OldNodeAtARaisedSite(PairTest):
    within, seconds = False, 150

    def setUp(self):
        self.start_alone()

    def test_it_is_refused_and_nothing_is_stored_and_a_new_one_is_taken(self):
        stage = self.stage
        stage.publish(stage.new, stage.new.bin)
        stage.run(commands.refresh(stage.cli))
        stage.run(commands.apply(stage.cli, stage.new.version, 1), seconds=90)
        self.assertEqual(stage.status()["feature_level"], 2)
        stage.start_base_b(stage.old)
        key = stage.folder / "b/node/inter-appliance.key"
        wait_until(lambda: key.is_file(), 20, "B's inter-appliance key")
        stage.wait_port(stage.address_b, stage.base_b)
        asked = ("--yes", "failover", "establish", "--backup", stage.address_b, "--reverse", stage.address)
        refused = stage.run_cli(*asked, "--key-file", key, check=False)
        self.assertEqual(refused.returncode, 3, refused.stdout + refused.stderr)
        self.assertIn("feature level 2", refused.stdout + refused.stderr)
        self.assertEqual(stage.failover_status()["role"], "alone")
        self.assertTrue(key.is_file(), "a refused attempt does not spend the key")
        stage.base_b.stop()
        shutil.rmtree(stage.folder / "b")  # A machine of its own, with the release that the site runs.
        stage.start_base_b(stage.new)
        wait_until(key.is_file, 20, "the new node's inter-appliance key")
        stage.wait_port(stage.address_b, stage.base_b)
        stage.run_cli(*asked, "--key-file", key)
        stage.wait_in_sync()


if __name__ == "__main__":
    unittest.main()
