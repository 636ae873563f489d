"""What must be refused before or at log-in: passwords, tokens, enrolments. Over the API, with a
client that shares no code with the product."""
import concurrent.futures
import os
import statistics
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import SiteTest  # noqa: E402
from https import ApiError, Client  # noqa: E402

PUBLIC_KEY = "A" * 43  # 32 zero bytes, base64url


class RefusedLogIns(SiteTest):
    agents = False
    cli = False
    within = True  # What is refused is this tree's affair.
    seconds = 90

    def new_client(self):
        return Client(self.stage.address, self.stage.ca_file)

    def refused(self, status, client, *call, code=None):
        """The call is answered with this status; its error."""
        with self.assertRaises(ApiError) as caught:
            client.call(*call)
        self.assertEqual(caught.exception.status, status, caught.exception)
        if code:
            self.assertEqual(caught.exception.code, code)
        return caught.exception

    def login_body(self, password, account="admin", area="site"):
        return {"account": account, "password": password, "area": area}

    def password(self):
        return self.stage.password_file.read_text().strip()

    def journal(self):
        return self.stage.client().call("GET", "/api/v1/journal?limit=200")["entries"]

    def test_a_wrong_password_is_refused_and_journalled(self):
        client = self.new_client()
        self.refused(401, client, "POST", "/api/v1/login", self.login_body("wrong password"))
        self.refused(401, client, "POST", "/api/v1/login", self.login_body("wrong password", account="nobody"))
        refused = [entry for entry in self.journal() if entry["what"] == "login.refused"]
        self.assertEqual(len(refused), 2, refused)
        self.assertNotIn("wrong password", str(refused))

    def test_many_wrong_passwords_are_slowed_down_and_the_right_one_too(self):
        client = self.new_client()
        statuses = []
        for _ in range(30):
            try:
                client.call("POST", "/api/v1/login", self.login_body("wrong password"))
                statuses.append(200)
            except ApiError as error:
                statuses.append(error.status)
                if error.status == 429:
                    break
        self.assertIn(429, statuses)
        self.assertNotIn(200, statuses)
        self.refused(429, client, "POST", "/api/v1/login", self.login_body(self.password()))

    def test_an_account_that_does_not_exist_takes_as_long_as_a_wrong_password(self):
        client = self.new_client()

        def took(account):
            started = time.monotonic()
            self.refused(401, client, "POST", "/api/v1/login", self.login_body("wrong password", account=account))
            return time.monotonic() - started

        known = [took("admin") for _ in range(3)]
        unknown = [took(f"nobody{i}") for i in range(3)]
        # A missing hash would answer in under a millisecond; a real one takes tens.
        self.assertGreater(statistics.median(unknown), statistics.median(known) / 4)

    def test_a_call_without_a_token_or_with_a_made_up_one_is_refused(self):
        client = self.new_client()
        self.refused(401, client, "GET", "/api/v1/settings")
        client.token = "x" * 43
        self.refused(401, client, "GET", "/api/v1/settings")

    def test_a_token_of_one_area_is_not_taken_by_the_other(self):
        client = self.new_client()
        client.login("admin", self.password(), "appliance")
        self.assertIn("url", client.call("GET", "/api/v1/appliance/updates/source"))
        self.refused(403, client, "PUT", "/api/v1/settings/site.note.x", {"value": "x"})
        client.login("admin", self.password(), "site")
        self.refused(403, client, "GET", "/api/v1/appliance/updates/source")

    def test_a_token_ends_with_its_log_out(self):
        client = self.new_client()
        client.login("admin", self.password())
        client.call("GET", "/api/v1/settings")
        client.call("POST", "/api/v1/logout")
        self.refused(401, client, "GET", "/api/v1/settings")

    def enrol_body(self, token, name):
        return {"token": token, "name": name, "public_key": PUBLIC_KEY, "platform": "linux", "release": "0.1.0"}

    def test_an_enrolment_token_works_once(self):
        admin = self.stage.client()
        token = admin.call("POST", "/api/v1/enrol-tokens", {})["token"]
        client = self.new_client()
        self.assertIn("endpoint_id", client.call("POST", "/api/v1/enrol", self.enrol_body(token, "one")))
        self.refused(400, client, "POST", "/api/v1/enrol", self.enrol_body(token, "two"), code="bad_token")
        self.assertEqual([row["name"] for row in admin.call("GET", "/api/v1/endpoints")["endpoints"]], ["one"])
        self.assertTrue([e for e in self.journal() if e["what"].startswith("enrol") and "refused" in e["what"]])

    def test_an_enrolment_token_raced_by_ten_still_works_once(self):
        token = self.stage.client().call("POST", "/api/v1/enrol-tokens", {})["token"]

        def attempt(number):
            try:
                self.new_client().call("POST", "/api/v1/enrol", self.enrol_body(token, f"racer{number}"))
                return 1
            except ApiError:
                return 0

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            self.assertEqual(sum(pool.map(attempt, range(10))), 1)

    def test_a_changed_or_made_up_enrolment_token_is_refused(self):
        admin, client = self.stage.client(), self.new_client()
        token = admin.call("POST", "/api/v1/enrol-tokens", {})["token"]
        parts = token.split(".")
        for part in (1, 2):
            changed = parts.copy()
            changed[part] = ("1" if changed[part][0] != "1" else "2") + changed[part][1:]
            self.refused(400, client, "POST", "/api/v1/enrol", self.enrol_body(".".join(changed), "forged"),
                         code="bad_token")
        self.refused(400, client, "POST", "/api/v1/enrol", self.enrol_body("no token at all", "forged"),
                     code="bad_token")
        self.assertEqual(admin.call("GET", "/api/v1/endpoints")["endpoints"], [])

    def test_bodies_that_are_too_long_or_malformed_are_refused(self):
        client = self.new_client()
        client.login("admin", self.password())
        self.refused(400, client, "PUT", "/api/v1/settings/site.note.x", {"value": "x", "unknown": 1})
        # This client sends all of it before it reads: the answer must still be there.
        for size in (66_000, 300_000, 3_000_000):
            self.refused(413, client, "PUT", "/api/v1/settings/site.note.x", {"value": "x" * size}, code="too_large")
        self.refused(404, client, "GET", "/api/v1/no/such/path")

    def test_the_same_idempotency_key_runs_once(self):
        client = self.stage.client()
        key = {"Idempotency-Key": "0123456789abcdef" * 2}
        first = client.call("PUT", "/api/v1/settings/site.note.x", {"value": "one"}, key)
        again = client.call("PUT", "/api/v1/settings/site.note.x", {"value": "one"}, key)
        self.assertEqual(first["revision"], again["revision"])
        self.assertEqual(client.call("GET", "/api/v1/settings/site.note.x")["revision"], first["revision"])


if __name__ == "__main__":
    unittest.main()
