"""A writer that is stopped (SIGSTOP) under load, replaced, and woken up again commits nothing.

Each round upgrades, stops the process that writes at a random moment (the new one while it is
watched, or the old one from the start of the new one on), and wakes it up around the time at which
another may write. What counts is read from outside: the log's own rows, and what the writer was told.
A round proves something only if another wrote before the stopped one woke up: rounds are repeated
until that was so EVERSPAN_FENCING_ROUNDS times (`./dev test fencing --rounds N`; default: 2) of each kind.
"""
import contextlib
import http.client
import json
import os
import random
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import ROOT, SiteTest  # noqa: E402

sys.path.insert(0, str(ROOT / "tests/tools"))
import check_evidence  # noqa: E402
import commands  # noqa: E402
from devlib import stat_fields  # noqa: E402
from https import ApiError  # noqa: E402
from process import wait_until  # noqa: E402

ROUNDS = int(os.environ.get("EVERSPAN_FENCING_ROUNDS", "2"))
SEED = int(os.environ.get("EVERSPAN_FENCING_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
ENDED = ("done", "rolled_back", "parked", "failed")
SILENCE_S = 3.0  # What a plan asks base to allow to a watched writer.
BETWEEN = (OSError, ApiError, http.client.HTTPException)  # Nobody answers while nobody serves.


def process(pid):
    """What names this process for good, or None when it does not live."""
    fields = stat_fields(pid)
    return None if fields is None or fields[0] in "ZX" else fields[2]


class WriterFencing(SiteTest):
    agents = False
    alone = True  # Silence is counted in seconds: a loaded machine would be silent too.
    seconds = 120 + 60 * ROUNDS

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        print(f"seed {SEED}, {ROUNDS} rounds")
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))
        self.site = self.stage.client(timeout=5)
        self.stage.start_witnesses(write_ms=2, probes=0, person=False)

    # ---- what is seen from outside ----
    def ask(self, method, path, body=None, seconds=40):
        """Asks until somebody answers."""

        def answer():
            try:
                return self.site.call(method, path, body)
            except BETWEEN:
                return None

        return wait_until(answer, seconds, f"an answer to {method} {path}")

    def slot(self, *roles):
        rows = self.ask("GET", "/api/v1/status")["slots"]
        return next((row["pid"] for row in rows if row["role"] in roles), None)

    def upgrade_state(self):
        return self.ask("GET", "/api/v1/upgrade")["state"]

    def rows(self):
        """[(revision, generation)] of the log, in order."""
        path = f"file:{self.stage.folder}/a/log.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as log:
            return log.execute("SELECT revision, generation FROM log ORDER BY revision").fetchall()

    def generation(self):
        path = f"file:{self.stage.folder}/a/log.db?mode=ro"
        with contextlib.closing(sqlite3.connect(path, uri=True, timeout=10)) as log:
            return log.execute("SELECT generation FROM log ORDER BY revision DESC LIMIT 1").fetchone()[0]

    def acknowledged(self):
        return (self.stage.evidence / "writer.jsonl").read_bytes().count(b"\n")

    # ---- a round ----
    def apply(self):
        self.ask("POST", "/api/v1/upgrade/apply",
                 {"to": self.stage.new.version, "soak_s": 60, "auto_finalize": False})

    def end_round(self):
        """Back on the old release, whatever became of this round."""

        def ended():
            state = self.upgrade_state()
            if state in ENDED:
                return state
            try:
                self.site.call("POST", "/api/v1/upgrade/rollback")
            except BETWEEN:
                pass  # Already under way, or nobody serves now: asked again.
            return None

        state = wait_until(ended, 60, "the upgrade to end", every=0.2)
        self.assertEqual(state, "rolled_back")
        wait_until(lambda: self.ask("GET", "/api/v1/about")["version"] == self.stage.old.version, 20, "the old release")

    def wake(self, pid, born, seconds):
        """SIGCONT again and again while it lives; True when it lived to the end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if process(pid) != born:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.001)  # Wake-ups a millisecond apart.
        return process(pid) == born

    def reached(self, step):
        """The plan is at that step or behind it; False when it has ended instead."""

        def where():
            plan = self.ask("GET", "/api/v1/upgrade")
            state = next((row["state"] for row in plan["steps"] if row["kind"] == step), "waiting")
            return "ended" if plan["state"] in ENDED else state != "waiting"

        return wait_until(where, 120, f"the step {step}") is True

    def stop_and_wake(self, pid, generation, after_s):
        """True: another wrote before this writer of `generation` woke up, or it never did. False: it woke
        up in time and goes on."""
        born = process(pid)
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + after_s
        while time.monotonic() < until and process(pid) == born:
            time.sleep(0.002)
        fenced = process(pid) != born or self.generation() > generation
        return not self.wake(pid, born, 1.5) or fenced

    def rounds(self, one_round):
        """Until ROUNDS have proved something."""
        proved, number, before = 0, 0, self.assert_log_fenced()
        while proved < ROUNDS:
            self.assertLess(number, 3 * ROUNDS + 5, f"only {proved} rounds proved something")
            fenced = one_round()
            self.end_round()
            after = self.assert_log_fenced()
            print(f"round {number}: {'another wrote first' if fenced else 'it woke up in time'}; "
                  f"generation {before} -> {after}", flush=True)
            if fenced:
                self.assertGreater(after, before)
            proved, number, before = proved + bool(fenced), number + 1, after
        print(f"{proved} of {number} rounds: another wrote before the stopped one woke up")

    def assert_log_fenced(self):
        rows = self.rows()
        self.assertEqual([revision for revision, _ in rows], list(range(rows[0][0], rows[0][0] + len(rows))))
        generations = [generation for _, generation in rows]
        self.assertEqual(generations, sorted(generations), "an older generation wrote after a newer one")
        return generations[-1]

    def assert_writes(self):
        """The writer's own records against what the site has in the end."""
        self.stage.check_witnesses()
        writer = self.stage.helpers["writer"]
        writer.ask_stop()
        self.assertEqual(writer.wait(60), 0, writer.tail())
        problems = []
        writes = check_evidence.check_writes(str(self.stage.evidence), None, True, problems)
        print(json.dumps(writes))
        self.assertEqual(problems, [])
        self.assertGreater(writes["acknowledged"], 100)
        self.assertEqual((writes["lost"], writes["duplicated"], writes["shared_revisions"]), (0, 0, 0), writes)

    # ---- tests ----
    def test_a_new_writer_that_is_stopped_while_watched_is_replaced_and_commits_nothing(self):
        def one_round():
            self.apply()
            if not self.reached("soak"):
                return False
            time.sleep(self.random.uniform(0, 1))  # The random moment.
            return self.stop_and_wake(self.slot("active"), self.generation(), SILENCE_S + self.random.uniform(-0.6, 0.6))

        self.rounds(one_round)
        self.assert_writes()

    def test_an_old_writer_that_is_stopped_anywhere_in_its_plan_commits_nothing_afterwards(self):
        def one_round():
            pid, generation = self.slot("active"), self.generation()
            self.apply()
            if not self.reached(self.random.choice(("probe", "switch", "switch", "soak"))):
                return False
            time.sleep(self.random.uniform(0, 0.3))  # The random moment: around its last commit.
            return self.stop_and_wake(pid, generation, self.random.uniform(0.2, 4.5))

        self.rounds(one_round)
        self.assert_writes()

    def test_a_learner_that_is_stopped_costs_no_write(self):
        self.apply()
        wait_until(lambda: self.upgrade_state() == "soaking", 40, "the soak")
        learner = self.slot("fallback")
        os.kill(learner, signal.SIGSTOP)
        before = self.acknowledged()
        wait_until(lambda: self.acknowledged() >= before + 300, 20, "300 writes beside a stopped learner")
        os.kill(learner, signal.SIGCONT)
        self.end_round()
        self.assert_log_fenced()
        self.assert_writes()


if __name__ == "__main__":
    unittest.main()
