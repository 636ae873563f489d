"""A real pair for a test: depot, two appliances in sync, agents where wanted, on addresses of its own."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from site_fixture import SiteTest, make_stage  # noqa: E402
from pair_stage import PairStage  # noqa: E402


class PairTest(SiteTest):
    kind = PairStage
    agents = False
    within = True  # What is tested is this tree, but for upgrades.
    seconds = 120  # Two appliances, beside other tests.

    def start_alone(self):
        self.stage = make_stage(sessions=self.sessions, within=self.within, kind=self.kind)
        self.addCleanup(self.clean)
        self.stage.start_depot()
        self.stage.start_site()

    def setUp(self):
        self.start_alone()
        self.stage.start_pair()
        if self.agents:
            self.stage.start_agents()

    def cli_at(self, address, *words, **options):
        cli = self.stage.cli_at(address or self.stage.address)
        return self.stage.run(cli(*words, json=True), **options)

    def put(self, name, value, address=None, seconds=30):
        return json.loads(self.cli_at(address, "settings", "put", name, value, seconds=seconds).stdout)

    def get(self, name, address=None):
        done = self.cli_at(address, "settings", "get", name, check=False)
        return json.loads(done.stdout).get("value") if done.returncode == 0 else None

    def become(self, verb, address):
        return json.loads(self.cli_at(address, "--yes", "failover", verb).stdout)
