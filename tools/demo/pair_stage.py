"""The stage with a second appliance: B joins, A establishes the failover relationship with it."""
import json
import os
import shutil
import signal
from pathlib import Path

import commands
from devlib import say
from process import Child, wait_until
from stage import Stage

IN_SYNC_S = 30


def site_pids(base):
    """The site processes that a base has started (its children)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == base:
            found.append(int(stat.parent.name))
    return found


class PairStage(Stage):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.address_b = f"127.77.{self.instance}.2:8443"
        self.base_b = None

    def prepare(self):
        super().prepare()
        shutil.rmtree(self.folder / "b", ignore_errors=True)
        self.check_free(self.address_b)

    def nodes(self):
        return {"a": self.address, "b": self.address_b}

    def bases(self):
        return {"base": self.base, "base b": self.base_b}

    def revive_bases(self):
        super().revive_bases()
        if not self.base_b.alive():
            print(f"base b ended with {self.base_b.process.poll()}; a fresh one starts")
            self.start_base_b()

    def restart_base(self, which):
        if which == "a":
            return super().restart_base(which)
        self.base_b.process.kill()
        self.base_b.process.wait()
        return self.start_base_b()

    def start_backup(self):
        self.start_pair()
        say(f"Appliance B at https://{self.address_b} joined it with the inter-appliance key; both are in sync")

    def statuses(self):
        found = super().statuses()
        for address in self.nodes().values():
            if said := self.failover_status(address):
                found.append({"failover": said})
        return found

    def start_base_b(self, release=None):
        command = commands.base_join(release or self.old, self.folder / "b", self.address_b,
                                     commands.depot_root(self.depot_data))
        self.base_b = Child("base b", self.at_node("b", command), self.logs / "base-b.log", env=self.base_env("b"))
        (self.folder / "base-b.pid").write_text(str(self.base_b.pid))

    def start_pair(self):
        """B waits for a site; A gives it one. Returns when both are in sync."""
        self.start_base_b()
        key = self.folder / "b/node/inter-appliance.key"
        wait_until(lambda: key.is_file(), 20, "B's inter-appliance key")
        self.wait_port(self.address_b, self.base_b)
        self.run_cli("--yes", "failover", "establish", "--backup", self.address_b, "--reverse", self.address,
                     "--key-file", key)
        self.wait_in_sync()

    def base_pid_files(self):
        return f"{self.folder / 'base.pid'},{self.folder / 'base-b.pid'}"

    def failover_status(self, address=None):
        """As a node says it; None while it says nothing."""
        done = self.run(self.cli_at(address or self.address)("failover", "status", json=True), check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def wait_in_sync(self, seconds=IN_SYNC_S):
        def both():
            status = self.failover_status()
            return status if status and len(status.get("in_sync", [])) == 2 else None

        return wait_until(both, seconds, "both appliances to be in sync", every=0.2)

    def signal_node(self, which, number):
        """To base and to every site process of that appliance."""
        base = self.base if which == "a" else self.base_b
        pids = [base.pid, *site_pids(base.pid)]
        for pid in pids:
            os.kill(pid, number)
        if number == signal.SIGKILL:
            base.process.wait()

    def tear_down(self):
        if self.base_b:
            self.base_b.kill()
        super().tear_down()
