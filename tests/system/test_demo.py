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


class Demos(unittest.TestCase):
    what = ()

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
                ["/usr/bin/python3", "-B", ROOT / "tools/demo/main.py", *self.what, "--no-build", "--instance",
                 str(number), "--data", folder / "demo", "--json", report, *arguments],
                capture_output=True, text=True, timeout=140)
            if done.returncode != 3 or "Another demo uses" not in done.stdout + done.stderr:
                break
        print(done.stdout, done.stderr)
        self.assertEqual(done.returncode, 0)
        result = json.loads(report.read_text())
        shutil.rmtree(folder)
        return result


class Demo(Demos):
    seconds = 150
    what = ("--single",)

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


class PairDemo(Demos):
    """What is not here: the other kinds of bad release for each method, as ./dev demo runs them."""

    seconds = 150

    def check_upgraded(self, report):
        self.assertEqual(report["outcome"], "upgraded")
        self.assertEqual(report["sessions"]["total"], 40)
        self.assertGreater(report["writes"]["acknowledged"], 100)
        self.assertEqual({node["version_after"] for node in report["nodes"]}, {report["to"]["version"]})
        self.assertEqual({node["exe_digest"] for node in report["nodes"]}, {report["to"]["digest"]})
        self.assertEqual(report["standby"]["out_of_sync_ms"], 0)

    def roles(self, report):
        return sorted((node["role_before"], node["role_after"]) for node in report["nodes"])

    def test_the_backup_first_then_the_other_loses_nothing(self):
        report = self.demo("--sessions", "40")
        self.check_upgraded(report)
        self.assertEqual(self.roles(report), [("backup", "primary"), ("primary", "backup")])

    def test_the_primary_first_without_a_change_of_roles_loses_nothing(self):
        report = self.demo("--method", "sync", "--sessions", "40")
        self.check_upgraded(report)
        self.assertEqual(self.roles(report), [("backup", "backup"), ("primary", "primary")])

    def test_a_release_that_falls_sick_after_the_backups_switch_goes_back(self):
        self.assertEqual(self.demo("--bad-release=sick-after-switch", "--sessions", "12")["outcome"], "rolled_back")

    def test_a_release_that_is_unhealthy_at_the_primary_goes_back(self):
        report = self.demo("--method", "sync", "--bad-release=unhealthy", "--sessions", "12")
        self.assertEqual(report["outcome"], "rolled_back")
        self.assertEqual(self.roles(report), [("backup", "backup"), ("primary", "primary")])


class Arguments(unittest.TestCase):
    def run_main(self, *arguments):
        return subprocess.run(["/usr/bin/python3", "-B", ROOT / "tools/demo/main.py", "--no-build", *arguments],
                              capture_output=True, text=True, timeout=50)

    def test_a_method_of_a_pair_and_one_appliance_exclude_each_other(self):
        done = self.run_main("--single", "--method", "async")
        self.assertEqual(done.returncode, 2)
        self.assertIn("exclude each other", done.stderr)

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
