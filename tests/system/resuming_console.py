#!/usr/bin/env python3
"""A person who goes on after the console was killed: `connect`, again with --resume after a SIGKILL.

    resuming_console.py FOLDER PROGRAM [GLOBALS...] connect NAME -T -- COMMAND...

Standard input and output go to each console in turn, so what is on its way in the pipes stays there.
Ends with the status of the console that ended by itself.
"""
import os
import signal
import subprocess
import sys

RESUMES_MAX = 20


def main():
    folder, words = sys.argv[1], sys.argv[2:]
    at = words.index("connect") + 1
    state = ["--state-file", os.path.join(folder, f"console-{os.getpid()}.state")]
    name = words[at]
    command = [*words[:at], *state, *words[at:]]
    for _ in range(RESUMES_MAX):
        status = subprocess.run(command, check=False).returncode
        if status != -signal.SIGKILL:
            return status if status >= 0 else 128 - status
        print(f"{state[1]}: killed, goes on", file=sys.stderr, flush=True)
        command = [*words[:at], *state, "--resume", name, "-T"]
    return 125


if __name__ == "__main__":
    sys.exit(main())
