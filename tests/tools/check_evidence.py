#!/usr/bin/env python3
"""Recomputes the continuity report from what independent processes wrote down.

    check_evidence.py DIR [--json FILE] [--expect upgraded|rolled_back] [--quiet]

DIR is a demo's folder or its `evidence`. Formats: tests/tools/README.md. The product's own word is
used only for what nobody else can see (steps, sessions moved), and marked as such. Unknown is null.
Exit: 0 nothing lost and the expected outcome, 1 otherwise, 2 usage.
"""
import argparse
import glob
import json
import math
import os
import sys
from collections import defaultdict

FORMAT = "everspan.continuity/1"


def read_lines(path, problems):
    """The JSON lines of a file; one cut off at the end by a killed writer is told, not fatal."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError:
                problems.append(f"{os.path.basename(path)}:{number}: not a JSON line")


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def percentile(values, share):
    """Nearest rank: always a value that was really measured."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values, digits=1):
    if not values:
        return {"p50": None, "p99": None, "max": None, "samples": 0}
    return {"p50": round(percentile(values, 0.50), digits), "p99": round(percentile(values, 0.99), digits),
            "max": round(max(values), digits), "samples": len(values)}


# ---- sessions and bytes -----------------------------------------------------------------------

def read_load(folder, problems):
    """-> streams {(session, dir): {"written": [...], "read": [...]}}, events {session: {name: event}}."""
    streams = defaultdict(lambda: {"written": [], "read": []})
    events = defaultdict(dict)
    reads = {"console": "a2c", "agent": "c2a"}
    for side, read_dir in reads.items():
        for path in sorted(glob.glob(os.path.join(folder, f"{side}-*.jsonl"))):
            for line in read_lines(path, problems):
                if "event" in line:
                    events[line["session"]][line["event"]] = line
                else:
                    what = "read" if line["dir"] == read_dir else "written"
                    streams[line["session"], line["dir"]][what].append(line)
    return streams, events


def check_stream(written, read):
    """Compares one direction message by message, in the order in which it was read."""
    known = {}  # hash -> place in the order of writing (messages carry their number, so hashes differ)
    for place, line in enumerate(written):
        known[line["sha256"]] = place
    out = {"sent": sum(line["len"] for line in written), "delivered": 0, "repeated": 0, "reordered": 0,
           "foreign": 0}
    seen, newest = set(), -1
    for line in read:
        place = known.get(line["sha256"])
        if place is None:
            out["foreign"] += line["len"]
        elif place in seen:
            out["repeated"] += line["len"]
        else:
            seen.add(place)
            out["delivered"] += line["len"]
            if place < newest:
                out["reordered"] += line["len"]
            newest = max(newest, place)
    out["lost"] = out["sent"] - out["delivered"]
    return out


def check_sessions(streams, events, problems):
    opened = [name for name, seen in events.items() if "opened" in seen]
    never = [name for name, seen in events.items() if "opening" in seen and "opened" not in seen]
    dropped = []
    for name in opened:
        closed, far = events[name].get("closed"), events[name].get("agent_ended")
        if not closed or not closed["clean"] or not far or far["how"] != "asked":
            dropped.append(name)
    if never:
        problems.append(f"{len(never)} sessions could not be opened, as {never[0]}")
    for name in opened:
        for direction in ("c2a", "a2c"):
            if not streams[name, direction]["written"]:
                problems.append(f"no evidence of what {name} wrote ({direction})")
    return {"total": len(opened) or None, "dropped": len(dropped) if opened else None,
            "dropped_names": sorted(dropped)[:20]}


def check_bytes(streams):
    total = {"sent": 0, "delivered": 0, "lost": 0, "repeated": 0, "reordered": 0, "foreign": 0}
    if not streams:
        return dict.fromkeys(total) | {"replayed": None, "damaged_streams": None}
    damaged = []
    for (session, direction), stream in streams.items():
        one = check_stream(stream["written"], stream["read"])
        for key in total:
            total[key] += one[key]
        if one["lost"] or one["repeated"] or one["reordered"] or one["foreign"]:
            damaged.append(f"{session} {direction}")
    return total | {"replayed": None, "damaged_streams": sorted(damaged)[:20]}


def stalls(streams, window, interval_ms):
    """The longest wait between two deliveries of each stream that touches the window, in ms."""
    begin, end = window
    found = []
    for stream in streams.values():
        longest, last = None, None
        for line in stream["read"]:
            now = line["t_ns"]
            if last is not None and now > begin and last < end:
                longest = max(longest or 0, now - last)
            last = now
        if last is not None and last < end:  # Silent up to the end of the window: a stall as well.
            longest = max(longest or 0, end - last)
        if longest is not None:
            found.append(max(0.0, longest / 1e6 - interval_ms))
    return found


# ---- writes -----------------------------------------------------------------------------------

def check_writes(folder, window, single, problems):
    lines = list(read_lines(os.path.join(folder, "writer.jsonl"), problems))
    final = read_json(os.path.join(folder, "settings_final.json"))
    out = {"attempted": None, "acknowledged": None, "refused": None, "lost": None, "duplicated": None,
           "gap_ms": spread([]), "single_store_acks": None}
    if not lines:
        return out
    acked = [line for line in lines if line.get("t_ack") is not None]
    out |= {"attempted": len(lines), "acknowledged": len(acked), "refused": len(lines) - len(acked)}
    if final is None or not final.get("complete"):
        problems.append("no complete read of the settings after the run: lost writes are unknown")
    else:
        out |= compare_writes(lines, acked, final["settings"])
    acks = sorted(line["t_ack"] for line in acked)
    gaps = [(b - a) / 1e6 for a, b in zip(acks, acks[1:]) if window and b > window[0] and a < window[1]]
    if gaps:  # One hand-over a run, so one sample: the longest wait in it.
        out["gap_ms"] = spread([max(gaps)], 2)
    quiet = [(b - a) / 1e6 for a, b in zip(acks, acks[1:]) if window and b <= window[0]]
    out["gap_quiet_ms"] = spread(quiet, 2)
    if not single:
        out["single_store_acks"] = sum(1 for line in acked if len(line.get("stores") or []) < 2)
    return out


def compare_writes(lines, acked, settings):
    # A write names the revision that its key had: a conflict means that this one is gone or was passed.
    lost = [line["key"] for line in lines if line.get("code") == "conflict" and line.get("if_match") is not None]
    twice = []
    values = defaultdict(set)
    for line in lines:
        values[line["key"]].add(line["value"])
    newest = {}
    for line in acked:
        before = newest.get(line["key"])
        if before is None or line["revision"] > before["revision"]:
            newest[line["key"]] = line
    unsure = {line["key"] for line in lines if line.get("t_ack") is None}
    for key, line in newest.items():
        now = settings.get(key)
        if now is None or now["revision"] < line["revision"] or now["value"] not in values[key]:
            lost.append(key)
        elif now["revision"] == line["revision"] and now["value"] != line["value"]:
            lost.append(key)
        elif now["revision"] > line["revision"] and key not in unsure:
            twice.append(key)  # The same write ran once more: nobody else writes this key.
    by_revision = defaultdict(set)
    for line in acked:
        by_revision[line["revision"]].add(line["key"])
    shared = sum(len(keys) - 1 for keys in by_revision.values())
    return {"lost": len(lost), "duplicated": len(twice), "shared_revisions": shared,
            "lost_keys": sorted(lost)[:20]}


# ---- connections, person, recordings ------------------------------------------------------------

def check_connections(folder, problems):
    counts = defaultdict(int)
    slow = []
    for line in read_lines(os.path.join(folder, "prober.jsonl"), problems):
        counts[line["outcome"]] += 1
        slow.append(line["ms"])
    attempted = sum(counts.values())
    if not attempted:
        return dict.fromkeys(("attempted", "refused", "reset", "timed_out"))
    out = {"attempted": attempted} | {key: counts.pop(key, 0) for key in ("refused", "reset", "timed_out")}
    counts.pop("ok", None)
    return out | {"other": dict(counts), "ms": spread(slow)}


def check_person(folder, problems):
    lines = list(read_lines(os.path.join(folder, "person.jsonl"), problems))
    if not lines:
        return None
    asked = [line for line in lines if "n" in line]
    ended = next((line for line in lines if line.get("event") == "ended"), None)
    return {"commands": len(asked), "answered": sum(1 for line in asked if line["answer"] == line["expected"]),
            "ended_clean": bool(ended and ended["asked"] and ended["status"] == 0),
            "answer_ms": spread([(line["t_answer"] - line["t_send"]) / 1e6 for line in asked if line["t_answer"]])}


def check_recordings(folder, problems):
    lines = list(read_lines(os.path.join(folder, "recordings", "verify.jsonl"), problems))
    if not lines:
        return {"checked": None, "gaps": None, "overlaps": None}
    return {"checked": len(lines), "gaps": sum(count(line.get("gaps")) for line in lines),
            "overlaps": sum(count(line.get("overlaps")) for line in lines),
            "failed": sum(1 for line in lines if not line.get("ok"))}


def count(value):
    return len(value) if isinstance(value, list) else int(value or 0)


# ---- outcome ------------------------------------------------------------------------------------

def check_outcome(folder, run, problems):
    """What ran first and last, by the hash of the running executables; the site's word must agree."""
    samples = list(read_lines(os.path.join(folder, "processes.jsonl"), problems))
    old, new = set(run["from"]["site_sha256"]), set(run["to"]["site_sha256"])
    by_time = defaultdict(set)
    for line in samples:
        by_time[line["t_ns"]].add(line["exe_sha256"])
    times = sorted(by_time)
    if not times:
        return "failed", None, "no process was sampled"
    first, last = by_time[times[0]], by_time[times[-1]]
    seen = set().union(*by_time.values())
    site = [line for line in read_lines(os.path.join(folder, "site.jsonl"), problems)]
    states = [line["upgrade"]["state"] for line in site if line.get("upgrade")]
    state = states[-1] if states else None
    digest = next(iter(last & (old | new)), None)
    if not first & old:
        return "failed", digest, "the release that was to be upgraded did not run at the start"
    if last & new and not last & old:
        return ("upgraded" if state in ("done", None) else "failed"), digest, f"the site says {state}"
    if last & old and not last & new:
        if state == "rolled_back":
            return "rolled_back", digest, None
        why = f"back on the old release, and the site says {state}"
        return ("parked" if state == "parked" else "failed"), digest, why
    why = "old and new run" if last & old else "neither old nor new runs"
    return ("parked" if state == "parked" and seen & new else "failed"), digest, why


def check_nodes(folder, digest, problems):
    """Role and version are the site's word; the hash is that of the process which it says it is."""
    first, last = {}, {}
    for line in read_lines(os.path.join(folder, "site.jsonl"), problems):
        status = line.get("status")
        if status and status.get("node"):
            first.setdefault(status["node"]["id"], status)
            last[status["node"]["id"]] = status
    running = {line["pid"]: line["exe_sha256"]
               for line in read_lines(os.path.join(folder, "processes.jsonl"), problems)}

    def role(status):
        return status.get("node_role") or status.get("role")

    def digest_of(status):
        active = [slot["pid"] for slot in status.get("slots") or [] if slot.get("role") == "active"]
        return running.get(active[0]) if active else digest if len(last) == 1 else None

    return [{"id": node, "role_before": role(first[node]), "role_after": role(last[node]),
             "version_before": first[node]["node"].get("version"),
             "version_after": last[node]["node"].get("version"), "exe_digest": digest_of(last[node])}
            for node in first]


def check_standby(folder, window, problems):
    """How long a sample of the primary's own word said that nobody stands by, and how far the other was behind."""
    out = {"out_of_sync_ms": None, "lag_max_records": None, "source": "site", "samples": 0}
    said = [line for line in read_lines(os.path.join(folder, "site.jsonl"), problems)
            if (line.get("failover") or {}).get("role") in ("primary", "releasing")]
    if not said or not window:
        return out
    without = 0
    for line, after in zip(said, [*said[1:], {"t_ns": window[1]}]):
        if len(line["failover"].get("in_sync") or []) < 2:
            without += max(0, after["t_ns"] - line["t_ns"])
    lags = [(line["failover"].get("lag") or {}).get("records") for line in said]
    lags = [lag for lag in lags if lag is not None]
    return out | {"out_of_sync_ms": round(without / 1e6), "lag_max_records": max(lags) if lags else None,
                  "samples": len(said)}


def site_word(folder, problems):
    """The last word of the site about its own upgrade, or {}."""
    word = {}
    for line in read_lines(os.path.join(folder, "site.jsonl"), problems):
        word = line.get("upgrade") or word
    return word


def check(folder):
    """-> the report (CONTRACT), with `problems`: what the evidence lacks."""
    if os.path.isdir(os.path.join(folder, "evidence")):
        folder = os.path.join(folder, "evidence")
    problems = []
    run = read_json(os.path.join(folder, "run.json"))
    if run is None:
        return {"format": FORMAT, "outcome": "failed", "problems": ["run.json is missing"]}
    marks = {line["mark"]: line["t_ns"] for line in read_lines(os.path.join(folder, "marks.jsonl"), problems)}
    window = (marks["apply"], marks["stop"]) if "apply" in marks and "stop" in marks else None
    if window is None:
        problems.append("the marks `apply` and `stop` are missing: no stall, no gap")
    streams, events = read_load(folder, problems)
    single = run.get("method") == "single"
    outcome, digest, why = check_outcome(folder, run, problems)
    word = site_word(folder, problems)
    report = {
        "format": FORMAT, "outcome": outcome, "why": why if outcome == "failed" else word.get("why") or None,
        "method": run.get("method"), "seed": run.get("seed"),
        "from": {"version": run["from"]["version"], "digest": run["from"]["site_sha256"][0]},
        "to": {"version": run["to"]["version"], "digest": run["to"]["site_sha256"][0]},
        "duration_s": round((marks["done"] - marks["apply"]) / 1e9, 2) if {"done", "apply"} <= set(marks) else None,
        "nodes": check_nodes(folder, digest, problems),
        "sessions": check_sessions(streams, events, problems) | {
            "moved": word.get("sessions_moved"), "moved_source": "site", "resumed": None},
        "bytes": check_bytes(streams),
        "writes": check_writes(folder, window, single, problems),
        "connections": check_connections(folder, problems),
        "stall_ms": spread(stalls(streams, window, run["interval_ms"]) if window else []),
        "stall_quiet_ms": spread(stalls(streams, (marks["ready"], marks["apply"]), run["interval_ms"])
                                 if {"ready", "apply"} <= set(marks) else []),
        "person": check_person(folder, problems),
        "standby": check_standby(folder, window, problems),
        "recordings": check_recordings(folder, problems),
        "steps": [dict(step, source="site") for step in word.get("steps") or []],
        "problems": problems,
    }
    return report


# What the promise names, as (part, key, words). None is unknown and no proof either.
MUST_BE_ZERO = [
    ("sessions", "dropped", "sessions dropped"), ("bytes", "lost", "bytes lost"),
    ("bytes", "repeated", "bytes repeated"), ("bytes", "reordered", "bytes out of order"),
    ("bytes", "foreign", "bytes that nobody wrote"), ("writes", "lost", "acknowledged writes lost"),
    ("writes", "duplicated", "writes run twice"), ("connections", "refused", "connections refused"),
    ("connections", "reset", "connections reset"), ("connections", "timed_out", "connections timed out")]


def verdict(report, expect):
    """-> reasons why this run is not as promised; empty: it is."""
    reasons = list(report["problems"])
    if report["outcome"] != expect:
        reasons.append(f"outcome {report['outcome']}, not {expect}: {report.get('why')}")
    if "sessions" not in report:
        return reasons
    for part, key, words in MUST_BE_ZERO:
        # A stopped process is killed with the connections that it had accepted; none may be refused.
        if expect == "rolled_back" and (part, key) == ("connections", "reset"):
            continue
        value = report[part].get(key)
        if value is None:
            reasons.append(f"{words}: unknown")
        elif value != 0:
            reasons.append(f"{words}: {value}")
    if report["method"] != "single":
        alone = report["writes"]["single_store_acks"]
        if alone != 0:
            reasons.append(f"writes acknowledged with one store: {'unknown' if alone is None else alone}")
        if len(report["nodes"]) != 2:
            reasons.append(f"appliances seen: {len(report['nodes'])}, not 2")
    person = report["person"]
    if person and (person["answered"] != person["commands"] or not person["ended_clean"]):
        reasons.append(f"the person's shell: {person['answered']} of {person['commands']} answers")
    if report["recordings"].get("gaps") or report["recordings"].get("failed"):
        reasons.append(f"recordings: {report['recordings']}")
    return reasons


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--json", help="also write the report there")
    parser.add_argument("--expect", default="upgraded", choices=["upgraded", "rolled_back"])
    parser.add_argument("--quiet", action="store_true", help="print the verdict only")
    args = parser.parse_args()
    if not os.path.isdir(args.folder):
        parser.error(f"no folder {args.folder}")
    report = check(args.folder)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    if not args.quiet:
        print(json.dumps(report, indent=1))
    reasons = verdict(report, args.expect)
    for reason in reasons:
        print(f"NOT AS PROMISED: {reason}", file=sys.stderr)
    return 1 if reasons else 0


if __name__ == "__main__":
    sys.exit(main())
