"""A small HTTPS client for the demo's independent processes: JSON calls, nothing of the product."""
import http.client
import json
import socket
import ssl


class ApiError(Exception):
    def __init__(self, status, body):
        error = body.get("error", {}) if isinstance(body, dict) else {}
        super().__init__(f"{status} {error.get('code', '')}: {error.get('message', body)}")
        self.status, self.code, self.retry_after = status, error.get("code", ""), None


def context(ca_file):
    ctx = ssl.create_default_context(cafile=ca_file)
    ctx.minimum_version = ssl.TLSVersion.TLSv1_3
    return ctx


class _Connection(http.client.HTTPSConnection):
    def connect(self):
        super().connect()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Client:
    """One keep-alive connection, made anew after any error. `call` raises OSError (or
    http.client.HTTPException) when the connection failed, ApiError when the site refused."""

    def __init__(self, address, ca_file, timeout=10):
        self.host, _, port = address.rpartition(":")
        self.port, self.timeout, self.context = int(port), timeout, context(ca_file)
        self.connection, self.token = None, None

    def login(self, account, password, area="site"):
        self.token = self.call("POST", "/api/v1/login",
                               {"account": account, "password": password, "area": area})["token"]

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def call(self, method, path, body=None, headers=None):
        if self.connection is None:
            self.connection = _Connection(self.host, self.port, timeout=self.timeout, context=self.context)
        headers = dict(headers or {})
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            data = json.dumps(body)
            headers["Content-Type"] = "application/json"
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            text = answer.read()
            if answer.getheader("Connection", "").lower() == "close":
                self.close()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        try:
            result = json.loads(text) if text else {}
        except ValueError:
            result = {"error": {"message": text[:200].decode(errors="replace")}}
        if answer.status >= 300:
            raise ApiError(answer.status, result)
        return result


class Site:
    """One appliance, or the two of a pair with one log-in: calls go to where the last one was answered,
    and to the other one when that is away or is not the primary."""

    def __init__(self, addresses, ca_file, timeout=10):
        self.clients = [Client(address, ca_file, timeout) for address in addresses.split(",")]

    def login(self, account, password, area="site"):
        """At the one that serves: each knows it, so the second one that is asked is right."""
        for client in self.clients[1:]:
            try:
                self.clients[0].login(account, password, area)
                break
            except ApiError as error:
                if error.code != "not_primary":
                    raise
                self.other()
        else:
            self.clients[0].login(account, password, area)
        for client in self.clients:
            client.token = self.clients[0].token

    @property
    def token(self):
        return self.clients[0].token

    def close(self):
        for client in self.clients:
            client.close()

    def other(self):
        self.clients.append(self.clients.pop(0))

    def call(self, *arguments):
        """Once; who wants it asked again does so, with the same request id."""
        try:
            return self.clients[0].call(*arguments)
        except ApiError as error:
            if error.code == "not_primary":
                self.other()
            raise
        except (OSError, http.client.HTTPException):
            self.other()
            raise
