"""The judge is judged: plants each kind of loss in good evidence and sees it found."""
import json
import os
import random
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_evidence as judge  # noqa: E402

MS = 1_000_000
START, APPLY, STOP = 10_000 * MS, 12_000 * MS, 15_000 * MS


class Planted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="everspan-evidence-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.random = random.Random(7)
        self.files = {}
        self.good()

    # ---- a run in which nothing was lost ----
    def good(self):
        self.json("run.json", {"method": "single", "seed": 1, "interval_ms": 100,
                               "from": {"version": "0.1.0", "site_sha256": ["aa"]},
                               "to": {"version": "0.2.0", "site_sha256": ["bb"]}})
        self.files["marks.jsonl"] = [{"mark": "ready", "t_ns": START}, {"mark": "apply", "t_ns": APPLY},
                                     {"mark": "done", "t_ns": STOP - MS}, {"mark": "stop", "t_ns": STOP}]
        for name in ("c1-0", "c1-1", "c2-0"):
            self.good_session(name)
        writes = [{"key": f"demo.{i}", "value": f"v{i}", "revision": 10 + i, "epoch": 1, "stores": ["n"],
                   "t_send": START + i * 10 * MS, "t_ack": START + (i * 10 + 2) * MS} for i in range(400)]
        self.files["writer.jsonl"] = writes
        self.settings = {w["key"]: {"value": w["value"], "revision": w["revision"]} for w in writes}
        self.files["prober.jsonl"] = [{"t_ns": START + i * 20 * MS, "addr": "a", "outcome": "ok", "ms": 2}
                                      for i in range(200)]
        self.files["processes.jsonl"] = [
            {"t_ns": START, "pid": 1, "exe_sha256": "aa"}, {"t_ns": APPLY + MS, "pid": 1, "exe_sha256": "aa"},
            {"t_ns": APPLY + MS, "pid": 2, "exe_sha256": "bb"}, {"t_ns": STOP, "pid": 2, "exe_sha256": "bb"}]
        self.files["site.jsonl"] = [{"t_ns": STOP, "status": {"node": {"id": "n", "version": "0.2.0"}},
                                     "upgrade": {"state": "done", "steps": [{"id": 1}]}}]
        self.files["person.jsonl"] = [
            {"n": 1, "expected": "51", "answer": "51", "t_send": START, "t_answer": START + MS},
            {"event": "ended", "asked": True, "status": 0}]

    def good_session(self, name):
        console, agent = [], []
        for direction, near, far in (("c2a", console, agent), ("a2c", agent, console)):
            offset = 0
            for n in range(50):
                line = {"session": name, "dir": direction, "offset": offset, "len": 100 + n,
                        "sha256": f"{name}{direction}{n}", "t_ns": START + n * 100 * MS}
                offset += line["len"]
                near.append(line)
                far.append(dict(line, t_ns=line["t_ns"] + MS))
        console += [{"session": name, "event": "opening", "t_ns": 0}, {"session": name, "event": "opened", "t_ns": 1},
                    {"session": name, "event": "closed", "asked": True, "opened": True, "clean": True, "status": 0}]
        agent.append({"session": name, "event": "agent_ended", "how": "asked"})
        self.files[f"console-{name}.jsonl"] = console
        self.files[f"agent-{name}.jsonl"] = agent

    def json(self, name, value):
        with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    def report(self):
        for name, lines in self.files.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
        self.json("settings_final.json", {"complete": True, "settings": self.settings})
        return judge.check(self.folder)

    def reasons(self, expect="upgraded"):
        return judge.verdict(self.report(), expect)

    def read_lines(self, name="agent-c1-0.jsonl", direction="c2a"):
        return [line for line in self.files[name] if line.get("dir") == direction]

    # ---- the tests ----
    def test_a_run_without_loss_is_as_promised(self):
        self.assertEqual(self.reasons(), [])
        report = self.report()
        self.assertEqual(report["outcome"], "upgraded")
        self.assertEqual(report["sessions"]["total"], 3)
        self.assertEqual(report["bytes"]["sent"], report["bytes"]["delivered"])
        self.assertIsNone(report["writes"]["single_store_acks"])
        self.assertEqual(report["stall_ms"]["max"], 0)

    def test_a_lost_message_is_found_with_its_length(self):
        victim = self.read_lines()[20]
        self.files["agent-c1-0.jsonl"].remove(victim)
        self.assertEqual(self.report()["bytes"]["lost"], victim["len"])
        self.assertEqual(self.report()["bytes"]["damaged_streams"], ["c1-0 c2a"])

    def test_the_last_message_lost_is_found(self):
        self.files["agent-c1-0.jsonl"].remove(self.read_lines()[-1])
        self.assertIn("bytes lost: 149", self.reasons())

    def test_a_repeated_message_is_found(self):
        victim = self.read_lines()[20]
        self.files["agent-c1-0.jsonl"].insert(21, dict(victim))
        report = self.report()["bytes"]
        self.assertEqual((report["repeated"], report["lost"]), (victim["len"], 0))

    def test_two_messages_in_the_wrong_order_are_found(self):
        lines = self.files["console-c1-1.jsonl"]
        at = next(i for i, line in enumerate(lines) if line.get("dir") == "a2c")
        lines[at + 3], lines[at + 4] = lines[at + 4], lines[at + 3]
        report = self.report()["bytes"]
        self.assertGreater(report["reordered"], 0)
        self.assertEqual((report["lost"], report["repeated"]), (0, 0))

    def test_a_changed_message_is_lost_and_foreign(self):
        victim = self.read_lines()[20]
        victim["sha256"] = "something else"
        report = self.report()["bytes"]
        self.assertEqual((report["lost"], report["foreign"]), (victim["len"], victim["len"]))

    def test_bytes_of_another_session_are_foreign(self):
        stranger = dict(self.read_lines("agent-c1-1.jsonl")[5], session="c1-0")
        self.files["agent-c1-0.jsonl"].insert(6, stranger)
        self.assertEqual(self.report()["bytes"]["foreign"], stranger["len"])

    def test_a_session_that_ended_unasked_is_dropped(self):
        self.files["console-c2-0.jsonl"][-1].update(clean=False, asked=False, status=4)
        self.assertEqual(self.report()["sessions"]["dropped_names"], ["c2-0"])

    def test_a_session_without_an_end_is_dropped(self):
        self.files["console-c2-0.jsonl"].pop()
        self.assertIn("sessions dropped: 1", self.reasons())

    def test_a_far_end_that_lost_its_input_is_dropped(self):
        self.files["agent-c2-0.jsonl"][-1]["how"] = "input ended"
        self.assertIn("sessions dropped: 1", self.reasons())

    def test_a_session_that_never_opened_is_a_problem(self):
        self.files["console-x.jsonl"] = [{"session": "x", "event": "opening", "t_ns": 0}]
        self.assertTrue(any("could not be opened" in reason for reason in self.reasons()))

    def test_missing_evidence_of_the_far_end_is_no_proof(self):
        del self.files["agent-c1-0.jsonl"]
        reasons = self.reasons()
        self.assertTrue(any("no evidence" in reason for reason in reasons), reasons)

    def test_no_session_at_all_is_unknown_not_zero(self):
        for name in [name for name in self.files if name.startswith(("console-", "agent-"))]:
            del self.files[name]
        self.assertIn("sessions dropped: unknown", self.reasons())
        self.assertIn("bytes lost: unknown", self.reasons())

    def test_an_acknowledged_write_that_is_gone_is_lost(self):
        del self.settings["demo.77"]
        self.assertEqual(self.report()["writes"]["lost_keys"], ["demo.77"])

    def test_an_acknowledged_write_with_another_value_is_lost(self):
        self.settings["demo.77"]["value"] = "other"
        self.assertIn("acknowledged writes lost: 1", self.reasons())

    def test_a_write_that_fell_back_to_an_older_value_is_lost(self):
        self.files["writer.jsonl"].append({"key": "demo.5", "value": "newer", "revision": 999,
                                           "t_send": STOP - 2 * MS, "t_ack": STOP - MS})
        self.assertIn("acknowledged writes lost: 1", self.reasons())

    def test_a_write_that_was_gone_at_the_next_write_of_its_key_is_lost(self):
        self.files["writer.jsonl"].append({"key": "demo.5", "value": "next", "if_match": 15, "revision": None,
                                           "code": "conflict", "t_send": STOP - 2 * MS, "t_ack": None})
        self.assertIn("acknowledged writes lost: 1", self.reasons())

    def test_a_write_that_ran_twice_is_found(self):
        self.settings["demo.77"]["revision"] += 1000
        self.assertIn("writes run twice: 1", self.reasons())

    def test_a_refused_write_is_no_loss(self):
        self.files["writer.jsonl"].append({"key": "demo.x", "value": "x", "revision": None, "t_send": APPLY,
                                           "t_ack": None, "error": "unavailable"})
        self.assertEqual(self.reasons(), [])
        self.assertEqual(self.report()["writes"]["refused"], 1)

    def test_without_a_final_read_lost_writes_are_unknown(self):
        self.report()
        self.json("settings_final.json", {"complete": False, "settings": {}})
        reasons = judge.verdict(judge.check(self.folder), "upgraded")
        self.assertIn("acknowledged writes lost: unknown", reasons)

    def test_the_write_gap_is_the_longest_wait_in_the_upgrade(self):
        lines = self.files["writer.jsonl"]
        for line in lines:
            if line["t_ack"] > APPLY + 500 * MS:
                line["t_ack"] += 70 * MS
        self.assertEqual(self.report()["writes"]["gap_ms"]["max"], 80)

    def test_each_kind_of_failed_connection_is_counted(self):
        for place, outcome in enumerate(("refused", "reset", "reset", "timed_out")):
            self.files["prober.jsonl"][place]["outcome"] = outcome
        report = self.report()["connections"]
        self.assertEqual((report["refused"], report["reset"], report["timed_out"]), (1, 2, 1))
        self.assertIn("connections reset: 2", self.reasons())

    def test_a_stall_is_the_longest_wait_less_the_interval(self):
        for line in self.read_lines():
            if line["t_ns"] > APPLY + 1000 * MS:
                line["t_ns"] += 250 * MS
        report = self.report()
        self.assertEqual(report["stall_ms"]["max"], 250)
        self.assertEqual(report["stall_ms"]["samples"], 6)
        self.assertEqual(report["stall_quiet_ms"]["max"], 0)

    def test_a_stream_that_fell_silent_is_a_stall_up_to_the_end(self):
        keep = [line for line in self.files["agent-c1-0.jsonl"]
                if line.get("dir") != "c2a" or line["t_ns"] < APPLY + 1000 * MS]
        self.files["agent-c1-0.jsonl"] = keep
        self.assertGreater(self.report()["stall_ms"]["max"], 1800)

    # ---- a pair ----
    def pair(self):
        self.json("run.json", {"method": "async", "seed": 1, "interval_ms": 100,
                               "from": {"version": "0.1.0", "site_sha256": ["aa"]},
                               "to": {"version": "0.2.0", "site_sha256": ["bb"]}})
        for line in self.files["writer.jsonl"]:
            line["stores"] = ["a", "b"]
        self.files["processes.jsonl"] += [{"t_ns": START, "pid": 3, "exe_sha256": "aa"},
                                          {"t_ns": STOP, "pid": 4, "exe_sha256": "bb"}]
        done = {"state": "done", "steps": []}
        for t, roles, pids, version in ((START, ("primary", "backup"), (1, 3), "0.1.0"),
                                        (STOP, ("backup", "primary"), (2, 4), "0.2.0")):
            for node, role, pid in zip("ab", roles, pids):
                self.files["site.jsonl"].append({"t_ns": t, "upgrade": done, "status": {
                    "node": {"id": node, "version": version}, "node_role": role, "role": "writer",
                    "slots": [{"role": "active", "pid": pid}]}})
        self.files["site.jsonl"] = [line for line in self.files["site.jsonl"] if line["status"]["node"]["id"] != "n"]
        for t in range(START, STOP, 1000 * MS):
            self.files["site.jsonl"].append({"t_ns": t, "failover": {"role": "primary", "in_sync": ["a", "b"],
                                                                    "lag": {"records": 0}}})

    def test_a_pair_without_loss_is_as_promised(self):
        self.pair()
        self.assertEqual(self.reasons(), [])
        report = self.report()
        self.assertEqual([(n["id"], n["role_before"], n["role_after"], n["exe_digest"]) for n in report["nodes"]],
                         [("a", "primary", "backup", "bb"), ("b", "backup", "primary", "bb")])
        self.assertEqual(report["writes"]["single_store_acks"], 0)
        self.assertEqual((report["standby"]["out_of_sync_ms"], report["standby"]["lag_max_records"]), (0, 0))

    def test_a_write_that_only_one_store_had_is_found(self):
        self.pair()
        self.files["writer.jsonl"][7]["stores"] = ["a"]
        self.assertIn("writes acknowledged with one store: 1", self.reasons())

    def test_an_appliance_of_a_pair_that_stays_on_the_old_release_has_failed(self):
        self.pair()
        self.files["processes.jsonl"][-1]["exe_sha256"] = "aa"
        self.assertEqual(self.report()["outcome"], "failed")

    def test_an_appliance_that_nobody_saw_is_no_proof(self):
        self.pair()
        self.files["site.jsonl"] = [line for line in self.files["site.jsonl"]
                                    if (line.get("status") or {}).get("node", {}).get("id") != "b"]
        self.assertIn("appliances seen: 1, not 2", self.reasons())

    def test_time_without_a_standby_is_counted_by_the_primarys_word(self):
        self.pair()
        lines = [line for line in self.files["site.jsonl"] if "failover" in line]
        lines[2]["failover"] = {"role": "primary", "in_sync": ["a"], "lag": {"records": 12}}
        standby = self.report()["standby"]
        self.assertEqual((standby["out_of_sync_ms"], standby["lag_max_records"]), (1000, 12))

    def test_going_back_is_seen_by_what_runs(self):
        self.files["processes.jsonl"][-1]["exe_sha256"] = "aa"
        self.files["site.jsonl"][-1]["upgrade"]["state"] = "rolled_back"
        self.assertEqual(self.reasons("rolled_back"), [])
        self.assertTrue(self.reasons("upgraded"))

    def test_a_site_that_says_done_while_the_old_one_runs_has_failed(self):
        self.files["processes.jsonl"][-1]["exe_sha256"] = "aa"
        self.assertEqual(self.report()["outcome"], "failed")

    def test_a_third_program_in_place_of_the_new_one_has_failed(self):
        self.files["processes.jsonl"][-1]["exe_sha256"] = "cc"
        self.assertEqual(self.report()["outcome"], "failed")

    def test_a_wrong_answer_in_the_persons_shell_is_found(self):
        self.files["person.jsonl"][0]["answer"] = "52"
        self.assertTrue(any("shell" in reason for reason in self.reasons()))

    def test_a_gap_in_a_recording_is_found(self):
        os.mkdir(os.path.join(self.folder, "recordings"))
        self.files["recordings/verify.jsonl"] = [{"session": "s", "ok": False, "gaps": [{"from": 1}], "overlaps": []}]
        self.assertTrue(any("recordings" in reason for reason in self.reasons()))

    def test_a_line_cut_off_by_a_kill_is_a_problem_not_a_crash(self):
        self.report()
        with open(os.path.join(self.folder, "writer.jsonl"), "a", encoding="utf-8") as file:
            file.write('{"key": "demo')
        self.assertTrue(any("not a JSON line" in p for p in judge.check(self.folder)["problems"]))


if __name__ == "__main__":
    unittest.main()
