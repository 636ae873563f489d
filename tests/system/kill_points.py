"""The cells of the kill tables: VICTIM@POINT; of a pair METHOD/VICTIM.NODE@POINT, nodes by their folders (a
serves at the start, b stands by).

Two kinds of points:
  NAME or NAME#K    a failpoint of the release or of base (docs: src/supervisor/README.md): the process
                    kills itself exactly there, at the K-th time after `upgrade apply` (default: first)
  STEP:before|after the test kills when the site, asked all the time, says that the step's intent is
                    stored, or that the step is done; of a pair STEP.NODE where each node has one
"""
from dataclasses import dataclass

STEPS = ("resolve", "fetch", "preflight", "backup", "candidate", "probe", "switch", "soak", "pin", "finalise")
PHASES = ("before", "after")
REACHED = {"before": ("running", "done", "failed", "undone"), "after": ("done", "failed", "undone")}

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


# ---- a pair ----
# What each node does, and what the pair does once; after these points of `soak` the old process may be gone.
NODE_STEPS = ("preflight", "candidate", "probe", "switch", "soak")
PAIR_STEPS = {"async": ("handover", "finalise"), "sync": ("finalise",)}
# How often a node saves its place in the pair between `apply` and the end, by method.
# What a cut of the line between the nodes drops, both ways or one (the victim is `link`).
DIRECTIONS = {"both": ("ab", "ba"), "ab": ("ab",), "ba": ("ba",)}
SAVES = {"async": {"a": 1, "b": 2}, "sync": {}}


def pair_cells():
    found = []
    for method, together in PAIR_STEPS.items():
        points = [f"{step}.{node}" for node in "ab" for step in NODE_STEPS] + list(together)
        found += [f"{method}/{victim}.{node}@{point}:{phase}" for victim in ("site", "base") for node in "ab"
                  for point in points for phase in PHASES]
        found += [f"{method}/agent.a@{point}:before" for point in points]
        found += [f"{method}/link.{way}@{point}:before" for point in points for way in DIRECTIONS]
        for node, count in SAVES[method].items():
            found += [f"{method}/saver.{node}@{point}" for phase in PHASES
                      for point in times(f"pair.{phase}_save", count)]
    return found


@dataclass(frozen=True)
class Cell:
    """What a cell's name says."""

    name: str
    method: str  # single, async, sync
    victim: str
    node: str  # Whose process it is.
    failpoint: str | None
    nth: int  # At which pass it strikes.
    step: str | None
    at: str | None  # Whose step it is, where each node has one.
    phase: str | None


def parse(name):
    method, _, rest = name.rpartition("/")
    who, _, point = rest.partition("@")
    victim, _, node = who.partition(".")
    failpoint, nth, step, at, phase = None, 0, None, None, None
    if ":" in point:
        step, _, phase = point.partition(":")
        step, _, at = step.partition(".")
    else:
        failpoint, _, count = point.partition("#")
        nth = int(count) if count else 1
    return Cell(name, method or "single", victim, node or "a", failpoint, nth, step, at or None, phase)
