"""_bench_writer.py ADDRESS CA_FILE TOKEN_FILE: writes one setting after the other, each as soon as the one before was
acknowledged, and prints the time of each acknowledgement (wall clock, ns) when it is told `stop`.

A write that got no answer, or was refused for the moment, is sent again at once with the same Idempotency-Key.
"""
import http.client
import os
import select
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tools/demo")]
from https import ApiError, Client  # noqa: E402

GIVE_UP_S = 20


def write(client, number, request, deadline):
    while True:
        try:
            return client.call("PUT", f"/api/v1/settings/site.note.b{number % 50:02d}", {"value": f"value {number}"},
                               {"Idempotency-Key": request})
        except ApiError as error:
            if error.status not in (429, 503):
                raise
        except (OSError, http.client.HTTPException):
            pass
        if time.monotonic() > deadline:
            raise SystemExit("a write was not acknowledged in 20 s")


def main():
    address, ca_file, token_file = sys.argv[1:4]
    client = Client(address, ca_file)
    client.token = Path(token_file).read_text().strip()
    acks, number = [], 0
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        write(client, number, os.urandom(16).hex(), time.monotonic() + GIVE_UP_S)
        acks.append(time.time_ns())
        number += 1
    print("acks " + " ".join(str(t) for t in acks), flush=True)


main()
