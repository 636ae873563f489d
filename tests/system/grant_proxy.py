"""Stands between a console and its site, with an authority of its own, and changes the grants that
pass: what a thief or a broken site would hand to a console. The legs go to the real site."""
import base64
import http.client
import http.server
import json
import ssl
import subprocess
import threading

from https import context

FORWARDED = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match")


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_certificate(folder, host):
    """(certificate, key): files of a fresh authority that is its own server."""
    certificate, key = folder / "proxy.pem", folder / "proxy.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=proxy", "-addext", f"subjectAltName=IP:{host}", "-keyout", key, "-out",
                    certificate], check=True, capture_output=True)
    return certificate, key


class GrantProxy:
    """`change(grant bytes) -> grant bytes` is applied to each session's grant; `seen` keeps the real ones."""

    def __init__(self, folder, host, site, site_ca):
        self.change, self.seen, self.site = (lambda grant: grant), [], site
        self.site_context = context(site_ca)
        certificate, key = make_certificate(folder, host)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.set_alpn_protocols(["http/1.1"])
        tls.load_cert_chain(certificate, key)
        self.server = http.server.ThreadingHTTPServer((host, 0), self.handler())
        self.server.daemon_threads = True
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.address = f"{host}:{self.server.server_address[1]}"
        self.ca_file = folder / "both.pem"
        self.ca_file.write_text(certificate.read_text() + site_ca.read_text())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def forward(self, method, path, headers, body):
        host, _, port = self.site.rpartition(":")
        connection = http.client.HTTPSConnection(host, int(port), timeout=20, context=self.site_context)
        try:
            connection.request(method, path, body, {k: headers[k] for k in FORWARDED if headers.get(k)})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def changed(self, path, text):
        if path != "/api/v1/sessions":
            return text
        answer = json.loads(text)
        if "grant" in answer:
            self.seen.append(decode(answer["grant"]))
            answer["grant"] = encode(self.change(self.seen[-1]))
        return json.dumps(answer).encode()

    def handler(self):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
                status, text = proxy.forward(self.command, self.path, self.headers, body)
                text = proxy.changed(self.path, text)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = pass_on

            def log_message(self, *words):
                pass

        return Handler
