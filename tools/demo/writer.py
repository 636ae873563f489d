"""Writes settings all the time and keeps what was acknowledged.

    writer.py ADDRESS[,ADDRESS] CA_FILE LOGIN_FILE EVIDENCE_DIR INTERVAL_MS

Each write names the revision that its key must still have (If-Match), so that an acknowledged write
which is gone, or ran twice, shows at the next write of its key. A write that got no answer is sent
again with the same Idempotency-Key, as a client would; of two appliances the other is asked when one
does not answer or is not the primary. At the end every setting is read back into
settings_final.json.
"""
import http.client
import json
import os
import random
import sys
import time

from https import ApiError, Site
from worker import Lines, Stop, say

KEY_PREFIX = "site.note."
KEYS = 200
RETRY_FOR_S = 20


def write_once(client, key, value, request, revision, deadline):
    """-> (answer or None, code, why, attempts)"""
    attempts, code, why = 0, None, None
    headers = {"Idempotency-Key": request}
    if revision is not None:
        headers["If-Match"] = f'"{revision}"'
    while time.monotonic() < deadline:
        attempts += 1
        try:
            return client.call("PUT", f"/api/v1/settings/{key}", {"value": value}, headers), None, None, attempts
        except ApiError as error:
            code, why = error.code, str(error)
            if error.status not in (429, 503, 409) or error.code == "conflict":
                return None, code, why, attempts
        except (OSError, http.client.HTTPException) as error:
            code, why = "no_answer", f"{type(error).__name__}: {error}"
        time.sleep(0.005)  # Before the same request goes out again.
    return None, code, why, attempts


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
    client = Site(address, ca_file)
    client.login(login["account"], login["password"])
    say("ready")
    seed = random.SystemRandom()
    number, revisions, next_at = 0, {}, time.monotonic()
    while not stop.wait(next_at - time.monotonic()):
        key, value = f"{KEY_PREFIX}w{number % KEYS:04d}", f"value {number} {seed.getrandbits(64):016x}"
        number += 1
        t_send = time.monotonic_ns()
        expected = revisions.get(key)
        answer, code, why, attempts = write_once(client, key, value, f"{seed.getrandbits(128):032x}", expected,
                                                 time.monotonic() + RETRY_FOR_S)
        t_ack = time.monotonic_ns()
        line = {"key": key, "value": value, "if_match": expected, "t_send": t_send, "attempts": attempts}
        if answer is None:
            revisions[key] = None  # Unknown: the next write of this key names no revision.
            lines.add(**line, revision=None, epoch=None, stores=None, t_ack=None, code=code, error=why)
        else:
            revisions[key] = answer["revision"]
            lines.add(**line, revision=answer["revision"], epoch=answer.get("epoch"), stores=answer.get("stores"),
                      t_ack=t_ack)
        next_at = max(next_at + float(interval_ms) / 1000, time.monotonic())
    lines.flush()
    settings = read_back(client, revisions)
    with open(os.path.join(folder, "settings_final.json"), "w", encoding="utf-8") as file:
        json.dump({"complete": True, "settings": settings}, file)
    say(f"wrote {number}")


main()
