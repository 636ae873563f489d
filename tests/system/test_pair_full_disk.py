"""The backup's disk is full: the primary goes on alone and says so, the backup serves on what it has, and both
are in sync again by themselves once there is room."""
import os
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from pair_stage import PairStage  # noqa: E402
from process import wait_until  # noqa: E402

DISK_MB, VALUE_BYTES, WRITES_MAX = 300, 1900, 400


class SmallDiskStage(PairStage):
    """B's folder is a file system of its own, of DISK_MB."""

    def prepare(self):
        self.unmount()  # What a killed run of this number left.
        super().prepare()
        folder = self.folder / "b"
        folder.mkdir(mode=0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "everspan-test", folder], check=True)

    def unmount(self):
        subprocess.run(["umount", "-l", self.folder / "b"], capture_output=True)

    def fill(self):
        with open(self.folder / "b/filler", "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 65536):
                    pass
            except OSError:
                pass  # Full: that is what is wanted.

    def tear_down(self):
        super().tear_down()
        self.unmount()


@unittest.skipUnless(os.geteuid() == 0, "file systems are mounted by root")
class FullDisk(PairTest):
    kind = SmallDiskStage
    seconds = 180

    def test_the_primary_goes_on_alone_and_both_are_in_sync_again_when_there_is_room(self):
        before = self.put("site.note.first", "x")
        self.assertEqual(len(before["stores"]), 2)
        self.stage.fill()
        for number in range(WRITES_MAX):
            answer = self.put(f"site.note.n{number % 50}", f"{number} " + "y" * VALUE_BYTES)
            if len(answer["stores"]) == 1:
                break
        self.assertEqual(len(answer["stores"]), 1, "the backup wrote to a full disk")
        said = self.stage.failover_status()
        self.assertEqual((said["role"], len(said["in_sync"])), ("primary", 1))
        self.assertIn("disk is full", said["shipping_why"])
        # It goes on, and does not wait for the backup each time.
        after = self.put("site.note.after", "alone")
        self.assertEqual(len(after["stores"]), 1)
        self.assertEqual(self.get("site.note.first", self.stage.address_b), "x", "B reads what it has")
        (self.stage.folder / "b/filler").unlink()
        self.stage.wait_in_sync(60)
        wait_until(lambda: self.get("site.note.after", self.stage.address_b) == "alone", 10, "the write at B")
        self.assertEqual(len(self.put("site.note.last", "both")["stores"]), 2)


if __name__ == "__main__":
    unittest.main()
