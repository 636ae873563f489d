"""Two machines for a pair: a network namespace each, joined by a bridge of this one.

Names carry the instance's number, so runs side by side do not meet; what a killed run left under the
same number is removed before it is made anew. Needs root.
"""
import subprocess
import time

import commands
from devlib import DevError
from pair_stage import PairStage
from process import Child, wait_until


def run(*words, check=True):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise DevError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done


class TwoMachines:
    """Addresses 10.77.N.1 (a), 10.77.N.2 (b), and 10.77.N.254 for everybody else."""

    def __init__(self, instance):
        self.bridge = f"evbr{instance}"
        self.names = {which: f"ev{instance}{which}" for which in "ab"}
        self.hosts = {"a": f"10.77.{instance}.1", "b": f"10.77.{instance}.2"}
        self.outside = f"10.77.{instance}.254"
        self.remove()
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.outside}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        for which, name in self.names.items():
            port = f"{self.bridge}{which}"
            run("ip", "netns", "add", name)
            run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", port, "master", self.bridge, "up")
            self.at(which, "ip", "address", "add", f"{self.hosts[which]}/24", "dev", "eth0")
            self.at(which, "ip", "link", "set", "eth0", "up")
            self.at(which, "ip", "link", "set", "lo", "up")

    def at(self, which, *words):
        return run("ip", "netns", "exec", self.names[which], *words)

    def command(self, which, words):
        return ["ip", "netns", "exec", self.names[which], *words]

    def cut(self, *directions):
        """Drops what goes in each direction, "ab" or "ba", silently; at the one that sends."""
        for sender, receiver in directions:
            self.at(sender, "nft", "add table inet cut; add chain inet cut out { type filter hook output priority 0 ; };"
                    f" add rule inet cut out ip daddr {self.hosts[receiver]} drop")

    def heal(self):
        for which in self.names:
            run(*self.command(which, ["nft", "delete", "table", "inet", "cut"]), check=False)

    def remove(self):
        for which, name in self.names.items():
            run("ip", "link", "delete", f"{self.bridge}{which}", check=False)  # Its namespace may be slow to go.
            run("ip", "netns", "delete", name, check=False)
        run("ip", "link", "delete", self.bridge, check=False)


class TwoMachinesStage(PairStage):
    """The pair on two machines whose line can be cut; everybody else reaches both."""

    def __init__(self, folder, instance, *args, **options):
        super().__init__(folder, instance, *args, **options)
        self.net, self.heal_at, self.depots = TwoMachines(instance), None, []
        self.address, self.address_b = (f"{self.net.hosts[which]}:8443" for which in "ab")
        self.cli = self.cli_at(self.address)

    def at_node(self, which, command):
        return self.net.command(which, command)

    def start_depot(self):
        """The same depot on each machine: without TLS it serves on a loopback address only."""
        self.run(commands.depot_init(self.old, self.depot_data))
        self.publish(self.old, self.old.bin)
        for which in self.nodes():
            served = Child(f"depot {which}", self.at_node(which, commands.depot_serve(
                self.old, self.depot_data, self.depot_address)), self.logs / f"depot-{which}.log", env=self.env)
            host, _, port = self.depot_address.rpartition(":")
            wait_until(lambda at=which: self.net.at(at, "ss", "-Hltn", "src", f"{host}:{port}").stdout, 20, served.name)
            self.depots.append(served)
        self.depot = self.depots[0]

    def check_free(self, address):
        if address not in self.nodes().values():
            super().check_free(address)

    def cut_for(self, seconds, *directions):
        self.net.cut(*directions)
        self.heal_at = time.monotonic() + seconds

    def heal_in_time(self):
        """Whether the line is still cut; heals it when its time is up."""
        if self.heal_at is not None and time.monotonic() > self.heal_at:
            self.net.heal()
            self.heal_at = None
        return self.heal_at is not None

    def tear_down(self):
        for depot in self.depots:
            depot.kill()
        super().tear_down()
        self.net.remove()
