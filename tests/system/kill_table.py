#!/usr/bin/env python3
"""The kill tables: kill -9 of one process, or a cut of the line between two nodes, at one point of an
upgrade under load.

    kill_table.py --list | --cell CELL [--seed N] | --count [--method async|sync]

The upgrade, of one appliance or of a pair, must end, done or gone back, with no session dropped, no byte and no acknowledged write
lost. What a point is: kill_points.py. Base and agents are started again by the test, as systemd
would; a console by its person (resuming_console.py); a site by base. --count upgrades once, kills
nobody and says how often each failpoint of base was passed, or, of a pair, those of each node's role.
"""
import argparse
import http.client
import os
import random
import shutil
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill_points import BASE_ACTIONS, DIRECTIONS, PHASES, REACHED, cells, pair_cells, parse  # noqa: E402
from site_fixture import ROOT, make_stage  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/tools"))
import check_evidence  # noqa: E402
import commands  # noqa: E402
import upgrade  # noqa: E402
from devlib import DevError, descendants, kill_children  # noqa: E402
from namespaces import TwoMachinesStage  # noqa: E402
from pair_stage import PairStage  # noqa: E402
from stage import Stage  # noqa: E402
from https import ApiError  # noqa: E402
from process import Child, wait_until  # noqa: E402

SESSIONS, SOAK_S = 6, 2
END_S = {"single": 75, "async": 120, "sync": 120}
SOAK_LONG_S = 6  # Where the victim is one that leaves with the soak: it must be found before.
CONSOLES_KILLED = 3
CUT_S = 7  # Longer than a primary waits before it goes on alone.
# A machine that is busy with others can make a healthy candidate late by seconds, and the upgrade goes
# back before the point is reached: it is applied again.
UPGRADES_MAX = 3
# Armed for a pass that never comes, until `strike_at` moves the count: so that what happens before
# the upgrade, however often, changes nothing.
NEVER = 1_000_000_000
# A kill may cut what is connected at that moment; what must not happen is that something is lost.
ALLOWED = ("connections", "outcome", "writes acknowledged with one store")


class Failpoints:
    """Armed failpoints of a node, counted by base and its sites together in one file."""

    def __init__(self, stage, names, action="kill", node="a"):
        self.path, self.names = stage.folder / node / "run/failpoint-hits", names
        folder = stage.folder / node / "base"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "failpoints-enabled").touch(mode=0o600)  # Only where it is, and is ours, are there failpoints.
        stage.failpoints[node] = ",".join(f"{name}:{action}:{NEVER}" for name in names)

    def hits(self):
        return dict(zip(self.names, struct.unpack(f"={len(self.names)}Q", self.path.read_bytes())))

    def strike_at(self, nth):
        """The first one strikes at its nth pass from now."""
        with open(self.path, "r+b") as file:
            file.write(struct.pack("=Q", NEVER - nth))

    def struck(self):
        return self.hits()[self.names[0]] >= NEVER


def state_of(status, cell, ids):
    """Of the cell's step; `ids`: of the nodes, by the names of their folders."""
    return next((row["state"] for row in status.get("steps", [])
                 if row["kind"] == cell.step and (cell.at is None or row["node"] == ids[cell.at])), None)


def consoles(stage):
    """Pids of the consoles of the load."""
    found = []
    for pid in [below for load in stage.loads for below in descendants(load.pid)]:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/everspan") and b"connect" in words:
            found.append(pid)
    return sorted(found)


def kill(stage, cell, rng):
    """How many processes were killed; they were there at that moment."""
    if cell.victim == "link":
        stage.cut_for(CUT_S, *DIRECTIONS[cell.node])
        return 1
    if cell.victim in ("base", "agent"):
        return int(stage.kill_one(cell.victim, rng, cell.node))
    if cell.victim == "console":
        pids = rng.sample(consoles(stage), CONSOLES_KILLED)
    else:
        roles = ("active",) if cell.victim == "site" else ("candidate", "fallback")
        slots = stage.slots(stage.nodes()[cell.node])
        pids = [slot["pid"] for slot in slots if slot["role"] in roles]
    killed = 0
    for pid in pids:
        try:
            os.kill(pid, 9)
            killed += 1
        except ProcessLookupError:
            print(f"{pid} ended by itself meanwhile")
    return killed


def follow(stage, watch, cell, seed, ids):
    """Until the upgrade has ended; kills on the way where the point is a step. How many were killed."""
    rng, plan_before = random.Random(seed), watch.last.get("plan")
    killed, deadline = None if cell.failpoint is None else 0, time.monotonic() + END_S[cell.method]
    while time.monotonic() < deadline:
        stage.revive_bases()
        stage.heal_in_time()
        try:
            last = watch.client.call("GET", "/api/v1/upgrade")
            if last.get("plan") == plan_before:
                continue  # Not yet stored.
            watch.last = last
            watch.state = watch.last["state"]
            now = state_of(watch.last, cell, ids)
            if killed is None and now in REACHED[cell.phase]:
                killed = kill(stage, cell, rng) or None  # Nobody there yet: look again.
                print(f"{cell.name}: step is {now}, upgrade {watch.state}: killed {killed}")
        except (OSError, ApiError, http.client.HTTPException) as error:
            print(f"asking: {type(error).__name__}: {error}")
            time.sleep(0.02)
            continue
        if watch.state in upgrade.ENDED:
            break
        time.sleep(0.01)
    return killed


def apply(stage, watch, cell, seed):
    """One upgrade to its end; how many were killed in it, None if its step was not reached."""
    stage.mark("apply")
    leaves = cell.victim == "other" or (cell.victim == "site" and cell.step in ("switch", "soak"))
    soak_s = SOAK_LONG_S if leaves else SOAK_S
    method = None if cell.method == "single" else cell.method
    ids = {name: stage.status(address)["node"]["id"] for name, address in stage.nodes().items()}
    cli = Child("upgrade apply", commands.apply(stage.cli, stage.new.version, soak_s, method), stage.logs / "upgrade.log",
                env=stage.env)
    killed = follow(stage, watch, cell, seed, ids)
    stage.mark("done")
    while stage.heal_in_time():
        time.sleep(0.1)
    if cli.wait(20) is None:
        cli.kill()
    settle(stage)
    # A site that was killed late has to come up again before it says anything.
    wait_until(lambda: watch.sample(status=True), 40, "the site's word about its upgrade", every=0.1)
    return killed


def drive(stage, cell, seed, failpoints):
    """The upgrade with its kill; what was seen of it."""
    stage.run(commands.refresh(stage.cli))
    watch = upgrade.Watch(stage)
    watch.sample(status=True)
    for _ in range(UPGRADES_MAX):
        if failpoints and cell.nth:
            failpoints.strike_at(cell.nth)
        killed = apply(stage, watch, cell, seed)
        reached = failpoints.struck() if failpoints and cell.nth else killed is not None
        if reached or watch.state != "rolled_back":
            break
        print(f"{cell.name}: not reached, {watch.last.get('why')}: once more")
    if not reached:
        raise DevError(f"{cell.name}: never reached; the upgrade is {watch.state}: {watch.last}")
    return watch


def settle(stage):
    """Sessions must go on behind the upgrade's end; a base that dies late is started again too."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        stage.revive_bases()
        stage.check_witnesses()
        time.sleep(0.1)


def start(stage, cell, failpoints):
    stage.start_depot()
    stage.start_site()
    stage.start_backup()
    stage.start_agents()
    plain = stage.cli
    if cell.victim == "console":
        # The next release's: 0.1.0's repeats what it wrote and had not noted when the kill came.
        console = commands.Cli(stage.new.bin / "everspan", stage.address, "demo")
        wrapper = ["/usr/bin/python3", "-B", ROOT / "tests/system/resuming_console.py", stage.folder / "cli"]
        stage.cli = lambda *words, **options: [*wrapper, *console(*words, **options)]
    stage.start_load()
    stage.cli = plain
    stage.start_witnesses(write_ms=20, probes=0, person=False)
    stage.mark("ready")
    stage.write_run(cell.method, [commands.sha256_file(stage.new.bin / "everspan-site")], "any")
    stage.publish(stage.new, stage.new.bin)
    if failpoints:
        failpoints.hits()  # The file is there: base is armed.


def judge(stage, cell, watch):
    """The reasons why this run is not as promised."""
    report = check_evidence.check(str(stage.evidence))
    reasons = [r for r in check_evidence.verdict(report, "upgraded") if not r.startswith(ALLOWED)]
    if cell.method != "single":
        reasons += stands_by_again(stage)
    if report["outcome"] not in ("upgraded", "rolled_back"):
        reasons.append(f"outcome {report['outcome']}: {report['why']}; the site says {watch.state}")
    print(f"{cell.name}: {report['outcome']}; sessions {report['sessions']}; bytes {report['bytes']}; "
          f"stall {report['stall_ms']}; writes {report['writes']}; standby {report['standby']}")
    return reasons


def stands_by_again(stage):
    """Nothing, or why the pair is not whole after all."""
    try:
        roles = sorted(stage.status(address).get("node_role") for address in stage.nodes().values())
        return [] if roles == ["backup", "primary"] and stage.wait_in_sync() else [f"roles in the end: {roles}"]
    except (DevError, TypeError) as error:
        return [f"the pair in the end: {error}"]


def kind_of(cell):
    if cell.method == "single":
        return Stage
    return TwoMachinesStage if cell.victim == "link" else PairStage


def run(cell, seed):
    stage = make_stage(sessions=SESSIONS, interval_ms=50, seed=seed, kind=kind_of(cell))
    good = False
    try:
        failpoints = Failpoints(stage, [cell.failpoint], node=cell.node) if cell.failpoint else None
        start(stage, cell, failpoints)
        watch = drive(stage, cell, seed, failpoints)
        stage.stop_load()
        stage.collect_recordings()
        reasons = judge(stage, cell, watch)
        for reason in reasons:
            print(f"NOT AS PROMISED: {reason}")
        good = not reasons
    finally:
        if not good:
            for log in sorted(stage.logs.glob("*.log")) + sorted(stage.folder.glob("[ab]/run/*.log")):
                print(f"---- {log.parent.parent.name} {log.name}\n{log.read_bytes()[-2500:].decode(errors='replace')}")
        stage.tear_down()
        kill_children()
    shutil.rmtree(stage.folder)
    return 0 if good else 1


def count(method):
    """How often an upgrade passes each failpoint of base, or of a node's role."""
    nobody = parse(f"{method}/nobody@plan.none#0")
    stage = make_stage(sessions=SESSIONS, interval_ms=50, kind=kind_of(nobody))
    names = [f"base.{phase}_{action}" for action, _ in BASE_ACTIONS for phase in PHASES]
    if method != "single":
        names = [f"pair.{phase}_save" for phase in PHASES]
    try:
        armed = {node: Failpoints(stage, names, node=node) for node in stage.nodes()}
        start(stage, nobody, None)
        before = {node: one.hits() for node, one in armed.items()}
        drive(stage, nobody, 1, armed["a"])
        for node, one in armed.items():
            for name, hits in one.hits().items():
                print(f"{node}: {name}: {hits - before[node][name]}")
    finally:
        stage.tear_down()
        kill_children()
    shutil.rmtree(stage.folder)
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--count", action="store_true")
    parser.add_argument("--method", choices=("single", "async", "sync"), default="single")
    parser.add_argument("--cell", choices=cells() + pair_cells(), metavar="CELL")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.list:
        print("\n".join(cells() + pair_cells()))
        return 0
    if not args.cell and not args.count:
        parser.error("--cell, --count or --list")
    try:
        return count(args.method) if args.count else run(parse(args.cell), args.seed)
    except DevError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
