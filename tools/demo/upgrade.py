"""The upgrade part of the demo: publish, plan, apply, live progress, chaos."""
import http.client
import json
import random
import sys
import time

import commands
from devlib import DevError, say
from https import ApiError
from process import Child

ENDED = ("done", "rolled_back", "parked", "failed")
POLL_S = 0.2
STATUS_EVERY_S = 1.0
CLI_ENDS_S = 20


class Watch:
    """Samples the site's own word into evidence/site.jsonl and shows where the upgrade is."""

    def __init__(self, stage):
        self.stage, self.client = stage, stage.client(timeout=5)
        self.file = open(stage.evidence / "site.jsonl", "a", encoding="utf-8")
        self.state, self.last, self.started, self.status_at = None, {}, time.monotonic(), 0.0
        self.shown = None

    def sample(self, status=False):
        line = {"t_ns": time.monotonic_ns()}
        try:
            line["upgrade"] = self.last = self.client.call("GET", "/api/v1/upgrade")
            self.state = self.last.get("state")
        except (OSError, ApiError, http.client.HTTPException) as error:
            line["error"] = f"{type(error).__name__}: {error}"  # Between two processes: ask again.
        self.keep(line)
        said = "upgrade" in line
        if status or time.monotonic() - self.status_at > STATUS_EVERY_S:
            self.status_at = time.monotonic()
            for one in self.stage.statuses():
                self.keep({"t_ns": time.monotonic_ns()} | one)
        return said  # Whether the site said something of its upgrade.

    def keep(self, line):
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def show(self):
        last, elapsed = self.last, time.monotonic() - self.started
        total, moved = last.get("sessions_total"), last.get("sessions_moved")
        step, state = last.get("step") or "-", last.get("state") or "-"
        text = f"{state:<10} step {step:<19} sessions moved {moved}/{total}"
        if sys.stdout.isatty():
            print(f"\r  {elapsed:5.1f} s  {text}\033[K", end="", flush=True)
        elif (state, step) != self.shown:
            say(f"  {elapsed:5.1f} s  {text}")
        self.shown = (state, step)

    def close_line(self):
        if sys.stdout.isatty():
            print()


class Chaos:
    """Kills one process after the other at moments drawn from the seed; the stage restarts what no
    supervisor would: base and agents (as systemd does)."""

    def __init__(self, stage, seed):
        self.stage, self.random, self.next_at, self.killed = stage, random.Random(seed), time.monotonic() + 1, []

    def act(self):
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + self.random.uniform(1.0, 3.0)
        victim = self.random.choice(("agent", "base", "site"))
        self.killed.append(victim)
        say(f"  chaos: kill -9 {victim}")
        self.stage.kill_one(victim, self.random)


def apply(stage, version, method, *, soak_s, seconds_max, chaos_seed=None):
    """Shows the plan, applies it, follows it to its end; (state, exit status of the CLI)."""
    stage.run(commands.refresh(stage.cli))
    method = None if method == "single" else method
    plan = stage.run(commands.plan(stage.cli, version, method))
    say(plan.stdout.rstrip())
    watch = Watch(stage)
    watch.sample(status=True)
    stage.mark("apply")
    watch.started = time.monotonic()
    cli = Child("upgrade apply", commands.apply(stage.cli, version, soak_s, method), stage.logs / "upgrade.log", env=stage.env)
    chaos = Chaos(stage, chaos_seed) if chaos_seed is not None else None
    deadline = time.monotonic() + seconds_max
    seen_running = False
    while time.monotonic() < deadline:
        watch.sample()
        watch.show()
        seen_running = seen_running or watch.state in ("running", "soaking")
        if watch.state in ENDED and (seen_running or not cli.alive()):
            break
        if not cli.alive() and watch.state in (None, "none"):
            raise DevError(f"upgrade apply ended with {cli.process.poll()}:\n{cli.tail()}")
        if chaos:
            chaos.act()
        stage.check_witnesses()
        time.sleep(POLL_S)
    stage.mark("done")
    watch.close_line()
    code = cli.wait(CLI_ENDS_S)
    if code is None:
        say("  upgrade apply did not come back")
        cli.kill()
    return watch, code
