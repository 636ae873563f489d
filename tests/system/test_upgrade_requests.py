"""What people ask of an upgrade, asked again and again with the same Idempotency-Key while the site is
handed over; and what everybody else sees meanwhile: always ready, no answer "unavailable"."""
import http.client
import json
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import SiteTest  # noqa: E402
from https import ApiError  # noqa: E402
from process import wait_until  # noqa: E402
import commands  # noqa: E402

APPLY, PAUSE, RESUME, FINALIZE = (letter * 32 for letter in "abcd")
BETWEEN = (OSError, http.client.HTTPException)  # A connection of the process that leaves.


class UpgradeRequests(SiteTest):
    within = True
    sessions = 60
    seconds = 240

    def ask(self, method, path, body=None, key=None, seconds=20):
        """Asks until it is answered; every answer that is no success counts."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.site.call(method, path, body, {"Idempotency-Key": key} if key else None)
            except BETWEEN:
                self.assertLess(time.monotonic(), deadline, "nobody answers")
            except ApiError as error:
                # The process that has given the right away cannot drive a plan: the next connection can.
                if error.code != "not_primary":
                    raise
                self.assertLess(time.monotonic(), deadline, str(error))
                self.site.close()
            time.sleep(0.01)

    def post(self, what, key, body=None):
        return self.ask("POST", f"/api/v1/upgrade/{what}", body or {}, key)

    def apply(self, **others):
        body = {"to": self.stage.new.version, "soak_s": 3, "auto_finalize": False, **others}
        return self.post("apply", APPLY, body)["plan"]

    def follow(self, until, plan):
        """Asks for the first request's outcome all the way; the last status."""
        releases, seen = set(), None
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            self.assertEqual(self.apply(), plan)
            seen = self.ask("GET", "/api/v1/upgrade")
            releases.add(self.ask("GET", "/api/v1/about")["version"])
            if seen["state"] in until:
                return seen, releases
            time.sleep(0.01)
        self.fail(f"never {until}: {seen}")

    def journal(self):
        words, after = [], 0
        while True:
            page = self.ask("GET", f"/api/v1/journal?limit=1000&after={after}")
            if not page["entries"]:
                return words
            words += [entry["what"] for entry in page["entries"]]
            after = page["next"]

    def test_each_runs_once_and_nobody_is_turned_away(self):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))
        self.stage.start_load()
        self.stage.start_witnesses(write_ms=10, probes=50, person=False)
        self.site = self.stage.client()

        plans = []
        others = [self.stage.client() for _ in range(3)]
        body = {"to": self.stage.new.version, "soak_s": 3, "auto_finalize": False}
        threads = [threading.Thread(target=lambda c=client: plans.append(
            c.call("POST", "/api/v1/upgrade/apply", body, {"Idempotency-Key": APPLY})["plan"])) for client in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        plan = self.apply()
        self.assertEqual(plans, [plan] * 3, "asked by three at once")
        with self.assertRaises(ApiError) as caught:
            self.apply(soak_s=4)
        self.assertEqual(caught.exception.code, "conflict")

        self.post("pause", PAUSE)
        self.post("pause", PAUSE)
        self.follow(("paused",), plan)
        self.post("resume", RESUME)
        self.post("pause", PAUSE)  # Long done: it must not pause anew.
        self.post("resume", RESUME)
        _, releases = self.follow(("awaiting_finalize",), plan)
        self.assertEqual(releases, {self.stage.old.version, self.stage.new.version}, "asked on both sides")
        self.post("finalize", FINALIZE)
        self.post("finalize", FINALIZE)
        done, _ = self.follow(("done",), plan)
        self.assertEqual(done["legs_left"], 0, "the old process leaves when its legs have gone, not before")
        self.assertGreaterEqual(done["sessions_total"], self.sessions)
        self.post("finalize", FINALIZE)

        lines = self.journal()
        counted = {what: lines.count(f"upgrade.{what}") for what in ("applied", "paused", "resumed", "finalize")}
        self.assertEqual(counted, {"applied": 1, "paused": 1, "resumed": 1, "finalize": 1})

        def retired():
            return [slot["role"] for slot in self.ask("GET", "/api/v1/status")["slots"]] == ["active"]

        wait_until(retired, 20, "the old process to have left")
        self.assertNotIn("did not end when retired", self.stage.base.tail(20_000))
        self.stage.check_witnesses()
        self.stage.stop_load()
        outcomes = {}
        for line in (self.stage.evidence / "prober.jsonl").read_text().splitlines():
            outcome = json.loads(line)["outcome"]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        print(f"readyz, asked on connections of their own: {outcomes}")
        self.assertEqual(set(outcomes), {"ok"})
        writes = [json.loads(line) for line in (self.stage.evidence / "writer.jsonl").read_text().splitlines()]
        self.assertEqual([w for w in writes if w["t_ack"] is None], [])


if __name__ == "__main__":
    unittest.main()
