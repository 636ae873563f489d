"""A small real site for a test: depot, appliance, one or two agents, on addresses of its own."""
import os
import shutil
import socket
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools/demo")]

import releases  # noqa: E402
from devlib import BUILD, DevError, become_subreaper  # noqa: E402
from stage import Stage  # noqa: E402

INSTANCES = range(100, 250)  # The demo's own default is 0.


def claim_instance():
    """(number, lock): the lock is gone with this process, however it ends."""
    for number in INSTANCES:
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0everspan-demo-{number}")
            return number, lock
        except OSError:
            lock.close()
    raise DevError("every instance is in use", 3)


def renumbered(release, version, folder):
    """The same programs under another number of the same length: an upgrade whose both halves are `release`."""
    shutil.copytree(release.bin, folder)
    for program in folder.iterdir():
        program.write_bytes(program.read_bytes().replace(release.version.encode(), version.encode()))
    return releases.Release(version, None, folder)


def make_stage(sessions=0, interval_ms=100, seed=1, within=False, kind=Stage):
    """A prepared Stage in a folder of its own below build/, so that the site's user can reach it.
    `within`: from the working tree to itself, so that what no pinned release can yet is seen on both sides."""
    become_subreaper()
    old, new = releases.pair(no_build=True)
    instance, lock = claim_instance()
    parent = BUILD / "system"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{instance}-", dir=parent))
    os.chmod(folder, 0o755)
    if within:
        old, new = new, renumbered(new, new.version[:-1] + str((int(new.version[-1]) + 1) % 10), folder / "renumbered")
    stage = kind(folder, instance, old, new, sessions=sessions, interval_ms=interval_ms, seed=seed)
    stage.instance_lock = lock
    stage.prepare()
    return stage


class SiteTest(unittest.TestCase):
    """One site for all tests of a class (each test runs in a process of its own, so for one test)."""

    agents = True
    cli = True  # Logs the CLI in.
    within = False  # See make_stage.
    sessions = 0  # Of the load, where a test starts it.

    def setUp(self):
        self.stage = make_stage(sessions=self.sessions, within=self.within)
        self.addCleanup(self.clean)
        self.before_site()
        self.stage.start_depot()
        self.stage.start_site(self.cli)
        if self.agents:
            self.stage.start_agents()

    def before_site(self):
        """What must be there when base starts."""

    def clean(self):
        failed = any(error for _, error in getattr(self._outcome.result, "errors", []) +
                     getattr(self._outcome.result, "failures", []))
        if failed:
            for log in sorted(self.stage.logs.glob("*.log")) + sorted(self.stage.folder.glob("[ab]/run/*.log")):
                print(f"---- {log.name}\n{log.read_bytes()[-3000:].decode(errors='replace')}")
        self.stage.tear_down()
        if not failed:
            shutil.rmtree(self.stage.folder)
