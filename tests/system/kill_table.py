#!/usr/bin/env python3
"""The kill tables: kill -9 of one process at one step of an upgrade, before or after its effect.

    kill_table.py --list | --cell VICTIM@STEP:PHASE [--seed N]

The upgrade must end, done or gone back, with no session dropped, no byte and no acknowledged write
lost. `before`: the step's intent is stored; `after`: its effect has happened, and nobody wrote that
down yet. The site that runs the plan is killed exactly there (a failpoint of the release itself);
the others at the first moment at which the site, asked all the time, says that it has come so far.
"""
import argparse
import http.client
import os
import random
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import ROOT, make_stage  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/tools"))
import check_evidence  # noqa: E402
import commands  # noqa: E402
import upgrade  # noqa: E402
from devlib import DevError, kill_children  # noqa: E402
from https import ApiError  # noqa: E402
from process import Child  # noqa: E402

STEPS = ("resolve", "fetch", "preflight", "backup", "candidate", "probe", "switch", "soak", "pin", "finalise")
# `site`: the process that is active at that moment; `other`: the one beside it, where there is one.
VICTIMS = ("site", "other", "base", "agent")
HAS_OTHER = ("candidate", "probe", "switch", "soak", "pin")
PHASES = ("before", "after")
REACHED = {"before": ("intent", "done", "failed", "undone"), "after": ("done", "failed", "undone")}
# What the release calls the effect of a step; soak has none.
ACTIONS = {"resolve": "resolve", "fetch": "fetch", "preflight": "preflight", "backup": "backup",
           "candidate": "start_candidate", "probe": "probe", "switch": "switch", "pin": "good",
           "finalise": "raise_level"}
SESSIONS, SOAK_S, END_S = 8, 3, 75
# A kill may cut what is connected at that moment; what must not happen is that something is lost.
ALLOWED = ("connections", "outcome")


def cells():
    return [f"{victim}@{step}:{phase}" for victim in VICTIMS for step in STEPS for phase in PHASES
            if victim != "other" or step in HAS_OTHER]


def state_of(status, step):
    return next((row["state"] for row in status.get("steps", []) if row["kind"] == step), None)


def kill(stage, victim, rng):
    """False when there is no such process now."""
    if victim in ("base", "agent"):
        return stage.kill_one(victim, rng)
    roles = ("active",) if victim == "site" else ("candidate", "fallback")
    pids = [slot["pid"] for slot in stage.slots() if slot["role"] in roles]
    for pid in pids:
        os.kill(pid, 9)
    return bool(pids)


def failpoint_of(cell):
    """What to arm for this cell, or None when the kill comes from here."""
    victim, _, where = cell.partition("@")
    step, _, phase = where.partition(":")
    return f"plan.{ACTIONS[step]}.{phase}:kill:1" if victim == "site" and step in ACTIONS else None


def arm(stage, failpoint):
    """Only where this file is, and is ours, does a release listen to a failpoint."""
    folder = stage.folder / "a/base"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "failpoints-enabled").touch(mode=0o600)
    stage.env["EVERSPAN_FAILPOINT"] = failpoint


def drive(stage, cell, seed):
    victim, _, where = cell.partition("@")
    step, _, phase = where.partition(":")
    rng = random.Random(seed)
    stage.run(commands.refresh(stage.cli))
    watch = upgrade.Watch(stage)
    watch.sample(status=True)
    stage.mark("apply")
    cli = Child("upgrade apply", commands.apply(stage.cli, stage.new.version, SOAK_S), stage.logs / "upgrade.log",
                env=stage.env)
    killed, deadline = bool(failpoint_of(cell)), time.monotonic() + END_S
    while time.monotonic() < deadline:
        try:
            watch.last = watch.client.call("GET", "/api/v1/upgrade")
            watch.state = watch.last["state"]
        except (OSError, ApiError, http.client.HTTPException) as error:
            print(f"asking: {type(error).__name__}: {error}")
            time.sleep(0.02)
            continue
        if not killed and state_of(watch.last, step) in REACHED[phase]:
            now = state_of(watch.last, step)
            done = kill(stage, victim, rng)
            print(f"{cell}: step is {now}, upgrade {watch.state}: {'killed' if done else 'no such process'}")
            killed = True
            continue
        if watch.state in upgrade.ENDED:
            break
        time.sleep(0.01)
    stage.mark("done")
    watch.sample(status=True)
    if cli.wait(20) is None:
        cli.kill()
    struck = "signal 9" in (stage.logs / "base.log").read_text(errors="replace")
    if failpoint_of(cell) and not struck:
        raise DevError(f"{cell}: {failpoint_of(cell)} never struck; the upgrade is {watch.state}: {watch.last}")
    if not killed:
        raise DevError(f"{cell}: the step was never reached; the upgrade is {watch.state}: {watch.last}")
    return watch


def run(cell, seed):
    stage = make_stage(sessions=SESSIONS, interval_ms=50, seed=seed)
    good = False
    try:
        if failpoint_of(cell):
            arm(stage, failpoint_of(cell))
        stage.start_depot()
        stage.start_site()
        stage.start_agents()
        stage.start_load()
        stage.start_witnesses(write_ms=20, probes=0, person=False)
        stage.mark("ready")
        stage.write_run("single", [commands.sha256_file(stage.new.bin / "everspan-site")], "any")
        stage.publish(stage.new, stage.new.bin)
        watch = drive(stage, cell, seed)
        after = time.monotonic() + 1.5
        while time.monotonic() < after:  # Sessions must go on behind the upgrade's end.
            stage.check_witnesses()
            time.sleep(0.1)
        watch.sample(status=True)
        stage.stop_load()
        stage.collect_recordings()
        report = check_evidence.check(str(stage.evidence))
        reasons = [r for r in check_evidence.verdict(report, "upgraded") if not r.startswith(ALLOWED)]
        if report["outcome"] not in ("upgraded", "rolled_back"):
            reasons.append(f"outcome {report['outcome']}: {report['why']}; the site says {watch.state}")
        for reason in reasons:
            print(f"NOT AS PROMISED: {reason}")
        print(f"{cell}: {report['outcome']}; sessions {report['sessions']}; bytes {report['bytes']}; "
              f"stall {report['stall_ms']}; writes {report['writes']}")
        good = not reasons
    finally:
        if not good:
            for log in sorted(stage.logs.glob("*.log")) + sorted((stage.folder / "a/run").glob("*.log")):
                print(f"---- {log.name}\n{log.read_bytes()[-2500:].decode(errors='replace')}")
        stage.tear_down()
        kill_children()
    shutil.rmtree(stage.folder)
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--cell", choices=cells())
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.list:
        print("\n".join(cells()))
        return 0
    if not args.cell:
        parser.error("--cell or --list")
    try:
        return run(args.cell, args.seed)
    except DevError as error:
        print(error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
