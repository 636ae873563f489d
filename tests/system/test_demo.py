"""The demo itself, small: one upgrade without loss, and each kind of bad release."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import BUILD, INSTANCES, ROOT, claim_instance  # noqa: E402


class Demo(unittest.TestCase):
    seconds = 150

    def demo(self, *arguments):
        """Runs ./dev demo on an instance of its own; its report."""
        (BUILD / "system").mkdir(parents=True, exist_ok=True)
        for _ in range(5):
            number, lock = claim_instance()
            lock.close()  # The demo claims it itself; another test that takes it meanwhile makes it exit 3.
            folder = Path(tempfile.mkdtemp(prefix=f"demo-{number}-", dir=BUILD / "system"))
            os.chmod(folder, 0o755)
            report = folder / "out.json"
            done = subprocess.run(
                ["/usr/bin/python3", "-B", ROOT / "tools/demo/main.py", "--single", "--no-build", "--instance",
                 str(number), "--data", folder / "demo", "--json", report, *arguments],
                capture_output=True, text=True, timeout=140)
            if done.returncode != 3 or "Another demo uses" not in done.stdout + done.stderr:
                break
        print(done.stdout, done.stderr)
        self.assertEqual(done.returncode, 0)
        result = json.loads(report.read_text())
        shutil.rmtree(folder)
        return result

    def test_an_upgrade_under_load_loses_nothing(self):
        report = self.demo("--sessions", "40")
        self.assertEqual(report["outcome"], "upgraded")
        self.assertEqual(report["sessions"]["total"], 40)
        self.assertGreater(report["bytes"]["sent"], 0)
        self.assertGreater(report["writes"]["acknowledged"], 100)
        self.assertNotEqual(report["from"]["digest"], report["to"]["digest"])

    def test_a_release_that_exits_goes_back(self):
        self.assertEqual(self.demo("--bad-release=exit", "--sessions", "12")["outcome"], "rolled_back")

    def test_a_release_that_hangs_goes_back(self):
        self.assertEqual(self.demo("--bad-release=hang", "--sessions", "12")["outcome"], "rolled_back")

    def test_a_release_that_is_unhealthy_goes_back(self):
        self.assertEqual(self.demo("--bad-release=unhealthy", "--sessions", "12")["outcome"], "rolled_back")

    def test_a_release_that_crashes_again_and_again_goes_back(self):
        self.assertEqual(self.demo("--bad-release=crashloop", "--sessions", "12")["outcome"], "rolled_back")

    def test_a_release_that_falls_sick_after_the_switch_goes_back(self):
        self.assertEqual(self.demo("--bad-release=sick-after-switch", "--sessions", "12")["outcome"], "rolled_back")


class Arguments(unittest.TestCase):
    def run_main(self, *arguments):
        return subprocess.run(["/usr/bin/python3", "-B", ROOT / "tools/demo/main.py", "--no-build", *arguments],
                              capture_output=True, text=True, timeout=50)

    def test_there_is_no_pair_yet_and_it_says_so(self):
        done = self.run_main("--method", "async")
        self.assertEqual(done.returncode, 2)
        self.assertIn("knows no pairs yet", done.stderr)

    def test_a_folder_with_other_things_in_it_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "precious").write_text("x")
            done = self.run_main("--single", "--data", folder, "--instance", str(INSTANCES[-1]))
            self.assertEqual(done.returncode, 2)
            self.assertEqual(os.listdir(folder), ["precious"])

    def test_a_second_demo_on_the_same_addresses_is_refused(self):
        number, lock = claim_instance()
        self.addCleanup(lock.close)
        done = self.run_main("--single", "--instance", str(number))
        self.assertEqual(done.returncode, 3)
        self.assertIn("--instance", done.stderr)


if __name__ == "__main__":
    unittest.main()
