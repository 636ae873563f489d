"""Prints a continuity report as a table."""


def number(value, unit=""):
    if value is None:
        return "unknown"
    return f"{value:,}{unit}" if isinstance(value, int) else f"{value:,.1f}{unit}"


def spread(part):
    if not part or part.get("samples") in (0, None):
        return "unknown"
    return f"p50 {number(part['p50'])}  p99 {number(part['p99'])}  max {number(part['max'])}  ({part['samples']:,} samples)"


def rows(report):
    sessions, data, writes = report["sessions"], report["bytes"], report["writes"]
    links = report["connections"]
    yield "release", f"{report['from']['version']} -> {report['to']['version']}"
    yield "outcome", report["outcome"] + (f" ({report['why']})" if report.get("why") else "")
    yield "duration", number(report["duration_s"], " s")
    if report["method"] != "single":
        yield "method", report["method"]
        for node in report["nodes"]:
            yield "appliance", (f"{node['id'][:8]}  {node['role_before']} -> {node['role_after']}, "
                                f"{node['version_before']} -> {node['version_after']}")
    yield "sessions", f"{number(sessions['total'])}, dropped {number(sessions['dropped'])}, moved {number(sessions['moved'])} (site's word)"
    yield "bytes", (f"sent {number(data['sent'])}, lost {number(data['lost'])}, repeated {number(data['repeated'])}, "
                    f"out of order {number(data['reordered'])}")
    yield "writes", (f"acknowledged {number(writes['acknowledged'])}, refused {number(writes['refused'])}, "
                     f"lost {number(writes['lost'])}, run twice {number(writes['duplicated'])}")
    if report["method"] != "single":
        standby = report["standby"]
        yield "standby", (f"writes that one store had {number(writes['single_store_acks'])}, out of sync "
                          f"{number(standby['out_of_sync_ms'], ' ms')}, lag at most {number(standby['lag_max_records'])} "
                          "records (site's word)")
    gap = writes["gap_ms"]
    yield "write gap, ms", f"{number(gap['max'])} (quiet: {spread(writes.get('gap_quiet_ms'))})"
    yield "connections", (f"attempted {number(links['attempted'])}, refused {number(links['refused'])}, "
                          f"reset {number(links['reset'])}, timed out {number(links['timed_out'])}"
                          + (f", other {links['other']}" if links.get("other") else ""))
    yield "connect, ms", spread(links.get("ms"))
    yield "stall, ms", spread(report["stall_ms"])
    yield "  quiet, ms", spread(report["stall_quiet_ms"])
    person = report.get("person")
    if person:
        yield "person's shell", f"{person['answered']} of {person['commands']} answers right, {spread(person['answer_ms'])} ms"
    recordings = report["recordings"]
    yield "recordings", f"checked {number(recordings['checked'])}, gaps {number(recordings['gaps'])}"


def print_report(report, reasons):
    print("\nContinuity report, recomputed from the evidence of the load, the writer and the prober:")
    for name, text in rows(report):
        print(f"  {name:<16}{text}")
    steps = report.get("steps") or []
    if steps and all(step.get("state") == "done" for step in steps):
        print(f"  steps           {len(steps)}, all done")
    elif steps:
        print("  steps           " + ", ".join(f"{step.get('id')} {step.get('state')}" for step in steps))
    for reason in reasons:
        print(f"  NOT AS PROMISED: {reason}")
    print("  AS PROMISED" if not reasons else "", flush=True)
