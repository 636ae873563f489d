"""The cells of the kill tables: VICTIM@POINT.

Two kinds of points:
  NAME or NAME#K    a failpoint of the release or of base (docs: src/supervisor/README.md): the process
                    kills itself exactly there, at the K-th time after `upgrade apply` (default: first)
  STEP:before|after the test kills when the site, asked all the time, says that the step's intent is
                    stored, or that the step is done
"""
STEPS = ("resolve", "fetch", "preflight", "backup", "candidate", "probe", "switch", "soak", "pin", "finalise")
PHASES = ("before", "after")
REACHED = {"before": ("intent", "done", "failed", "undone"), "after": ("done", "failed", "undone")}

# Effects of the plan, by who performs them: the old release up to the switch, then the new one.
OLD_EFFECTS = ("resolve", "fetch", "preflight", "backup", "start_candidate", "probe", "switch")
NEW_EFFECTS = ("good", "raise_level")
# What base does in an upgrade: (action, how often; each time is a cell).
BASE_ACTIONS = (("persist", 11), ("reply", 1), ("stage", 1), ("start_process", 1), ("welcome", 1), ("link", 1),
                ("role", 1), ("release_writer", 1), ("activate", 1), ("retire", 1))
# Processes beside the one that serves: the candidate up to the switch, then the one that can take over again.
# From soak:after on it is told to leave, so it may be gone before it can be killed.
OTHER = ("candidate:before", "candidate:after", "probe:before", "probe:after", "switch:before", "switch:after",
         "soak:before")


def times(name, count):
    return [name if k == 1 else f"{name}#{k}" for k in range(1, count + 1)]


def cells():
    found = [f"old@plan.{effect}.{phase}" for effect in OLD_EFFECTS for phase in PHASES]
    found += [f"new@plan.{effect}.{phase}" for effect in NEW_EFFECTS for phase in PHASES]
    found += ["old@site.before_released", "new@site.before_ready", "new@site.before_activate"]
    found += [f"site@soak:{phase}" for phase in PHASES]
    found += [f"other@{point}" for point in OTHER]
    for action, count in BASE_ACTIONS:
        for phase in PHASES:
            found += [f"base@{point}" for point in times(f"base.{phase}_{action}", count)]
    found += ["checker@stage.verified", "checker@stage.before_rename"]  # A child of base: base lives on.
    found += [f"{victim}@{step}:{phase}" for victim in ("base", "agent", "console") for step in STEPS
              for phase in PHASES]
    return found


def split(cell):
    """(victim, failpoint or None, how often until it strikes, step, phase)"""
    victim, _, point = cell.partition("@")
    if ":" in point:
        step, _, phase = point.partition(":")
        return victim, None, 0, step, phase
    name, _, count = point.partition("#")
    return victim, name, int(count) if count else 1, None, None
