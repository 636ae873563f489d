"""Where a node's data may lie: base says at its start what the site's own user could not reach."""
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import claim_instance  # noqa: E402
import releases  # noqa: E402


class DataFolder(unittest.TestCase):
    seconds = 60

    def start(self, data):
        base = releases.build_next(no_build=True).bin / "everspan-base"
        instance, lock = claim_instance()
        self.addCleanup(lock.close)
        return subprocess.Popen([base, "--data", data, "--listen", f"127.77.{instance}.1:8443"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_a_parent_that_the_sites_user_cannot_enter_is_refused_before_anything_is_made(self):
        if os.getuid() != 0:
            return  # One user for base and site: what base can enter the site can.
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            home = Path(folder) / "home"
            home.mkdir(mode=0o700)
            os.chown(home, 1234, 1234)
            base = self.start(home / "site")
            out, err = base.communicate(timeout=30)
            print(err)
            self.assertEqual(base.returncode, 3, err)
            for words in ("cannot enter", f"{home} (of uid 1234, mode 0700)", "Nothing was made", f"chmod o+x {home}"):
                self.assertIn(words, err)
            self.assertNotIn("Password", out, "no password is made for a site that cannot be")
            self.assertEqual(list(home.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
