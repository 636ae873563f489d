"""Writes settings all the time, each under a key of its own, and keeps what was acknowledged.

    writer.py ADDRESS CA_FILE LOGIN_FILE EVIDENCE_DIR INTERVAL_MS

A write that got no answer is sent again with the same Idempotency-Key, as a client would. At the
end every setting is read back into settings_final.json.
"""
import http.client
import json
import os
import random
import sys
import time

from https import ApiError, Client
from worker import Lines, Stop, say

KEY_PREFIX = "site.note."
RETRY_FOR_S = 20


def write_once(client, key, value, request, deadline):
    """-> (answer or None, why, attempts)"""
    attempts, why = 0, None
    while time.monotonic() < deadline:
        attempts += 1
        try:
            answer = client.call("PUT", f"/api/v1/settings/{key}", {"value": value},
                                 {"Idempotency-Key": request})
            return answer, None, attempts
        except ApiError as error:
            why = str(error)
            if error.status not in (429, 503, 409) or error.code == "conflict":
                return None, why, attempts
        except (OSError, http.client.HTTPException) as error:
            why = f"{type(error).__name__}: {error}"
        time.sleep(0.005)  # Before the same request goes out again.
    return None, why, attempts


def read_back(client, keys):
    settings = {}
    for key in keys:
        for left in (2, 1, 0):
            try:
                answer = client.call("GET", f"/api/v1/settings/{key}")
                settings[key] = {"value": answer["value"], "revision": answer["revision"]}
                break
            except ApiError as error:
                if error.status == 404:
                    break  # It is not there: the checker will say so.
                raise
            except (OSError, http.client.HTTPException):
                if left == 0:
                    raise
    return settings


def main():
    address, ca_file, login_file, folder, interval_ms = sys.argv[1:6]
    with open(login_file, encoding="utf-8") as file:
        login = json.load(file)
    stop, lines = Stop(), Lines(os.path.join(folder, "writer.jsonl"))
    client = Client(address, ca_file)
    client.login(login["account"], login["password"])
    say("ready")
    seed = random.SystemRandom()
    number, keys, next_at = 0, [], time.monotonic()
    while not stop.wait(next_at - time.monotonic()):
        key, value = f"{KEY_PREFIX}w{number:06d}", f"value {number} {seed.getrandbits(64):016x}"
        number += 1
        t_send = time.monotonic_ns()
        answer, why, attempts = write_once(client, key, value, f"{seed.getrandbits(128):032x}",
                                           time.monotonic() + RETRY_FOR_S)
        t_ack = time.monotonic_ns()
        keys.append(key)
        if answer is None:
            lines.add(key=key, value=value, revision=None, epoch=None, stores=None, t_send=t_send, t_ack=None,
                      error=why, attempts=attempts)
        else:
            lines.add(key=key, value=value, revision=answer["revision"], epoch=answer.get("epoch"),
                      stores=answer.get("stores"), t_send=t_send, t_ack=t_ack, attempts=attempts)
        next_at = max(next_at + float(interval_ms) / 1000, time.monotonic())
    lines.flush()
    settings = read_back(client, keys)
    with open(os.path.join(folder, "settings_final.json"), "w", encoding="utf-8") as file:
        json.dump({"complete": True, "settings": settings}, file)
    say(f"wrote {number}")


main()
