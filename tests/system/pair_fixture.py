"""A real pair for a test: depot, two appliances in sync, agents where wanted, on addresses of its own."""
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_fixture import BUILD, SiteTest, claim_instance, releases, renumbered  # noqa: E402
import commands  # noqa: E402
from devlib import become_subreaper  # noqa: E402
from pair_stage import PairStage  # noqa: E402


def make_pair_stage(sessions=0, interval_ms=100, seed=1):
    """From the working tree to itself under another number, until a pinned release knows pairs."""
    become_subreaper()
    _, new = releases.pair(no_build=True)
    instance, lock = claim_instance()
    parent = BUILD / "system"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{instance}-", dir=parent))
    os.chmod(folder, 0o755)
    later = renumbered(new, new.version[:-1] + str((int(new.version[-1]) + 1) % 10), folder / "renumbered")
    stage = PairStage(folder, instance, new, later, sessions=sessions, interval_ms=interval_ms, seed=seed)
    stage.instance_lock = lock
    stage.prepare()
    return stage


class PairTest(SiteTest):
    agents = False
    seconds = 120  # Two appliances, beside other tests.

    def setUp(self):
        self.stage = make_pair_stage(sessions=self.sessions)
        self.addCleanup(self.clean)
        self.stage.start_depot()
        self.stage.start_site()
        self.stage.start_pair()
        if self.agents:
            self.stage.start_agents()

    def cli_at(self, address, *words, **options):
        cli = commands.Cli(self.stage.cli.program, address or self.stage.address, "demo")
        return self.stage.run(cli(*words, json=True), **options)

    def put(self, name, value, address=None, seconds=30):
        return json.loads(self.cli_at(address, "settings", "put", name, value, seconds=seconds).stdout)

    def get(self, name, address=None):
        done = self.cli_at(address, "settings", "get", name, check=False)
        return json.loads(done.stdout).get("value") if done.returncode == 0 else None

    def become(self, verb, address):
        return json.loads(self.cli_at(address, "--yes", "failover", verb).stdout)
