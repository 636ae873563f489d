"""Connects anew 50 times a second: TCP, TLS 1.3, GET /readyz, close. Records how each ended.

    prober.py ADDRESS[,ADDRESS] CA_FILE EVIDENCE_DIR PER_SECOND

Two appliances are probed in turn, with GET /healthz: one of them does not serve, and says so.
"""
import queue
import socket
import ssl
import sys
import threading
import time

from https import context
from worker import Lines, Stop, say

TIMEOUT_S = 5
THREADS = 16


def probe(address, path, ctx):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), TIMEOUT_S) as raw:
            raw.settimeout(TIMEOUT_S)
            with ctx.wrap_socket(raw, server_hostname=host) as tls:
                tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                head = b""
                while b"\r\n" not in head:
                    piece = tls.recv(4096)
                    if not piece:
                        return "reset"  # Closed without an answer.
                    head += piece
        status = head.split(b" ", 2)[1].decode(errors="replace")
        return "ok" if status == "200" else f"http_{status}"
    except TimeoutError:
        return "timed_out"
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return "reset"
    except ssl.SSLError as error:
        return f"tls_{error.reason}"
    except OSError as error:
        return f"errno_{error.errno}"


def main():
    address, ca_file, folder, per_second = sys.argv[1:5]
    stop, lines, lock = Stop(), Lines(f"{folder}/prober.jsonl"), threading.Lock()
    work, ctx = queue.Queue(), context(ca_file)
    addresses = address.split(",")
    path = "/readyz" if len(addresses) == 1 else "/healthz"

    def run():
        while number := work.get():
            address = addresses[number % len(addresses)]
            started = time.monotonic_ns()
            outcome = probe(address, path, ctx)
            ended = time.monotonic_ns()
            with lock:
                lines.add(t_ns=ended, addr=address, outcome=outcome, ms=round((ended - started) / 1e6, 2))

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    say("ready")
    next_at, number = time.monotonic(), 0
    while not stop.wait(next_at - time.monotonic()):
        number += 1
        work.put(number)
        next_at += 1 / float(per_second)
    for _ in threads:
        work.put(0)
    for thread in threads:
        thread.join()
    lines.flush()


main()
