#!/usr/bin/env python3
"""The networks that cdp-relay has connectors for, on loopback: each answers as its public documentation says (the pages:
docs/connectors.md), and refuses what that does not allow.

usage: servers.py <folder>

Writes <folder>/port; after every change <folder>/<network>, JSON: who the network holds, by key (a hash where it gets hashes);
and <folder>/<network>.log, a line for every request: method, path, status. Faults stand in <folder>/faults, JSON, by network,
read afresh for every request:

  throttle   so many requests, from when this was written, are answered as the network does when it is asked too often
  fail       so many, after those, get HTTP 503
  refuse     e-mail addresses that the network does not take
  expired    so many requests are told that their access token is no good
"""

import base64
import hashlib
import http.server
import json
import re
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

FOLDER = Path(sys.argv[1])
LOCK = threading.Lock()
HASH = re.compile(r"[0-9a-f]{64}")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status, body=None, headers=None):
        super().__init__(status)
        self.answer = (status, body, headers or {})


class Network:
    """What all have: who is held, and faults that are counted down."""

    def __init__(self):
        self.name = type(self).__name__
        self.held = {}
        self.faults, self.left = {}, {}

    def set_faults(self, faults):
        if faults != self.faults:
            self.faults = faults
            self.left = {name: faults.get(name, 0) for name in ("throttle", "fail", "expired")}

    def takes(self, fault):
        if self.left.get(fault, 0) < 1:
            return False
        self.left[fault] -= 1
        return True

    def refuses(self, email):
        return email in self.faults.get("refuse", [])

    def refuses_hash(self, email_hash):
        return email_hash in map(sha256, self.faults.get("refuse", []))

    def answer(self, request):
        if request.path.endswith("/token"):
            return self.token(request)
        if self.takes("throttle"):
            raise self.throttled()
        if self.takes("fail"):
            raise Refused(503)
        self.let_in(request)
        return self.handle(request)

    def token(self, request):
        raise Refused(404)

    def let_in(self, request):
        if request.headers.get("authorization") != "Bearer s3cret":
            raise Refused(401, {"message": "who are you?"})


class hubspot(Network):
    def throttled(self):
        return Refused(429, {"status": "error", "message": "You have reached your ten_secondly_rolling limit.",
                             "errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"})

    def handle(self, request):
        inputs = request.json["inputs"]
        ids = [given["id"] for given in inputs]
        if len(ids) > 100 or len(set(ids)) < len(ids):
            raise Refused(400, {"status": "error", "category": "VALIDATION_ERROR", "message": "too many inputs, or one twice"})
        act = request.path.removeprefix("/crm/v3/objects/contacts/batch/")
        numbers = {str(1000 + place): email for place, email in enumerate(sorted(self.held))}
        if act == "upsert":
            return self.upsert(inputs)
        if act == "read":
            found = [{"id": number, "properties": self.held[email]} for number, email in numbers.items() if email in ids]
            missing = [email for email in ids if email not in self.held]
            errors = [{"status": "error", "category": "OBJECT_NOT_FOUND", "context": {"ids": missing}}] if missing else []
            return (207 if missing else 200), {"status": "COMPLETE", "results": found, "errors": errors}, {}
        if act == "archive":
            for number in ids:
                self.held.pop(numbers.get(number), None)
            return 204, None, {}
        raise Refused(404)

    def upsert(self, inputs):
        results, errors = [], []
        for given in inputs:
            wrong = given["idProperty"] != "email" or not all(isinstance(value, str) for value in given["properties"].values())
            if wrong or self.refuses(given["id"]):
                errors.append({"status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid",
                               "context": {"objectWriteTraceId": [given["objectWriteTraceId"]]}})
            else:
                self.held[given["id"]] = given["properties"]
                results.append({"id": "1", "new": True, "objectWriteTraceId": given["objectWriteTraceId"]})
        answer = {"status": "COMPLETE", "results": results}
        return (207, answer | {"numErrors": len(errors), "errors": errors}, {}) if errors else (200, answer, {})


class salesforce(Network):
    tokens = 0

    def token(self, request):
        form = parse_qs(request.body.decode())
        if form.get("client_id") != ["id"] or form.get("client_secret") != ["s3cret"] or form.get("grant_type") != ["client_credentials"]:
            raise Refused(400, {"error": "invalid_client_id", "error_description": "client identifier invalid"})
        self.tokens += 1
        return 200, {"access_token": f"token{self.tokens}", "token_type": "Bearer"}, {}

    def let_in(self, request):
        if self.takes("expired") or request.headers.get("authorization") != f"Bearer token{self.tokens}":
            raise Refused(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])

    def throttled(self):
        return Refused(403, [{"message": "TotalRequests Limit exceeded.", "errorCode": "REQUEST_LIMIT_EXCEEDED"}])

    def handle(self, request):
        match = re.fullmatch(r"/services/data/v\d+\.0/(composite/)?sobjects/Contact/Email__c(?:/(.+))?", request.path)
        if match and request.method == "DELETE" and match[2]:
            if self.held.pop(unquote(match[2]), None) is None:
                raise Refused(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])
            return 204, None, {}
        records = request.json["records"]
        if not (match and request.method == "PATCH" and match[1]) or len(records) > 200 or request.json["allOrNone"] is not False:
            raise Refused(400, [{"errorCode": "INVALID_INPUT", "message": "not well formed"}])
        return 200, [self.upsert(record) for record in records], {}

    def upsert(self, record):
        email = record.pop("Email__c")
        if record.pop("attributes")["type"] != "Contact" or self.refuses(email):
            return {"success": False, "errors": [{"statusCode": "REQUIRED_FIELD_MISSING", "message": "Required fields are missing: [LastName]",
                                                  "fields": ["LastName"]}]}
        created = email not in self.held
        self.held[email] = record
        return {"id": "003", "success": True, "errors": [], "created": created}


class mailchimp(Network):
    def let_in(self, request):
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic" or not base64.b64decode(secret).endswith(b":s3cret"):
            raise Refused(401, {"title": "API Key Invalid", "status": 401, "detail": "Your API key may be invalid"})

    def throttled(self):
        return Refused(429, {"title": "Too Many Requests", "status": 429, "detail": "You have exceeded the limit of 10 simultaneous connections."})

    def handle(self, request):
        if request.method == "DELETE":
            match = re.fullmatch(r"/3\.0/lists/l1/members/([0-9a-f]{32})", request.path)
            for email in list(self.held):
                if match and hashlib.md5(email.encode()).hexdigest() == match[1]:
                    del self.held[email]
                    return 204, None, {}
            raise Refused(404, {"title": "Resource Not Found", "status": 404})
        members = request.json["members"]
        if request.path != "/3.0/lists/l1" or len(members) > 500 or request.json["update_existing"] is not True:
            raise Refused(400, {"title": "Invalid Resource", "status": 400, "detail": "not this way"})
        errors = []
        for member in members:
            if self.refuses(member["email_address"]) or member["status"] != "subscribed":
                errors.append({"email_address": member["email_address"], "error": "looks fake or invalid", "error_code": "ERROR_GENERIC"})
            else:
                self.held[member["email_address"]] = member["merge_fields"]
        return 200, {"new_members": [], "updated_members": [], "errors": errors, "error_count": len(errors)}, {}


class klaviyo(Network):
    def let_in(self, request):
        if request.headers.get("authorization") != "Klaviyo-API-Key s3cret":
            raise Refused(401, {"errors": [{"code": "not_authenticated", "detail": "Authentication credentials were not provided."}]})
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", request.headers.get("revision", "")):
            raise Refused(400, {"errors": [{"code": "invalid", "detail": "revision is missing"}]})

    def throttled(self):
        return Refused(429, {"errors": [{"code": "throttled", "detail": "Request was throttled."}]}, {"Retry-After": "1"})

    def handle(self, request):
        if request.method == "GET" and request.path == "/api/profiles":
            wanted = json.loads(re.fullmatch(r"any\(email,(\[.*\])\)", request.query["filter"][0])[1])
            return 200, {"data": [{"type": "profile", "id": "P" + email} for email in wanted if email in self.held]}, {}
        if request.method == "DELETE" and request.path == "/api/lists/L1/relationships/profiles":
            for profile in request.json["data"]:
                self.held.pop(profile["id"].removeprefix("P"), None)
            return 204, None, {}
        data = request.json["data"]
        if request.path != "/api/profile-bulk-import-jobs" or data["type"] != "profile-bulk-import-job":
            raise Refused(404)
        profiles = [profile["attributes"] for profile in data["attributes"]["profiles"]["data"]]
        wrong = [place for place, profile in enumerate(profiles) if self.refuses(profile["email"])]
        if wrong or len(profiles) > 10_000 or data["relationships"]["lists"]["data"] != [{"type": "list", "id": "L1"}]:
            raise Refused(400, {"errors": [{"code": "invalid", "detail": "Invalid email address",
                                            "source": {"pointer": f"/data/attributes/profiles/data/{place}/attributes/email"}} for place in wrong]})
        self.held.update({profile["email"]: profile for profile in profiles})
        return 202, {"data": {"type": "profile-bulk-import-job", "id": "job"}}, {}


class braze(Network):
    def throttled(self):
        return Refused(429, {"message": "Rate limit exceeded"}, {"X-RateLimit-Limit": "1", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"})

    def handle(self, request):
        if request.path == "/users/delete":
            ids = request.json["external_ids"]
            if len(ids) > 50:
                raise Refused(400, {"message": "too many"})
            return 200, {"deleted": sum(self.held.pop(email, None) is not None for email in ids), "message": "success"}, {}
        users = request.json["attributes"]
        if request.path != "/users/track" or len(users) > 75:
            raise Refused(400, {"message": "not this way"})
        errors = []
        for place, user in enumerate(users):
            if self.refuses(user["external_id"]):
                errors.append({"type": "The value provided for the 'email' field is not valid.", "input_array": "attributes", "index": place})
            else:
                self.held[user["external_id"]] = user
        answer = {"message": "success", "attributes_processed": len(users) - len(errors)}
        return 201, answer | ({"errors": errors} if errors else {}), {}


class Google(Network):
    def token(self, request):
        form = parse_qs(request.body.decode())
        if form.get("refresh_token") != ["r3fresh"] or form.get("grant_type") != ["refresh_token"]:
            raise Refused(400, {"error": "invalid_grant"})
        return 200, {"access_token": "s3cret", "expires_in": 3599, "token_type": "Bearer"}, {}

    def email(self, identifiers, name):
        """The hashed address; nothing where an identifier is none."""
        values = [value for identifier in identifiers for value in identifier.values() if isinstance(value, str)]
        if not values or not all(HASH.fullmatch(value) for value in values):
            return None
        found = [identifier[name] for identifier in identifiers if name in identifier]
        return None if not found or self.refuses_hash(found[0]) else found[0]


class google_customer_match(Google):
    def __init__(self):
        super().__init__()
        self.jobs = {}

    def let_in(self, request):
        super().let_in(request)
        if request.headers.get("developer-token") != "dev":
            raise Refused(403, {"error": {"status": "PERMISSION_DENIED", "message": "The developer token is not valid"}})

    def throttled(self):
        return Refused(429, {"error": {"code": 429, "message": "Resource has been exhausted", "status": "RESOURCE_EXHAUSTED", "details": [{"errors": [
            {"errorCode": {"quotaError": "RESOURCE_EXHAUSTED"}, "message": "Too many requests.", "details": {"quotaErrorDetails": {"retryDelay": "1s"}}}]}]}})

    def handle(self, request):
        jobs = "/v25/customers/123/offlineUserDataJobs"
        if request.path == jobs + ":create":
            data = request.json["job"]["customerMatchUserListMetadata"]
            if request.json["job"]["type"] != "CUSTOMER_MATCH_USER_LIST" or data["userList"] != "customers/123/userLists/9":
                raise Refused(400, {"error": {"status": "INVALID_ARGUMENT", "message": "no such list"}})
            number = str(len(self.jobs) + 1)
            self.jobs[number] = []
            return 200, {"resourceName": f"customers/123/offlineUserDataJobs/{number}"}, {}
        number, act = re.fullmatch(re.escape(jobs) + r"/(\d+):(\w+)", request.path).groups()
        if act == "addOperations":
            return self.add(number, request.json)
        for kind, email in self.jobs[number]:
            if kind == "create":
                self.held[email] = {}
            else:
                self.held.pop(email, None)
        return 200, {"name": "operations/1"}, {}

    def add(self, number, given):
        if given["enablePartialFailure"] is not True or len(given["operations"]) > 100_000:
            raise Refused(400, {"error": {"status": "INVALID_ARGUMENT", "message": "not this way"}})
        errors = []
        for place, operation in enumerate(given["operations"]):
            (kind, data), = operation.items()
            email = self.email(data["userIdentifiers"], "hashedEmail")
            if email:
                self.jobs[number].append((kind, email))
            else:
                errors.append({"errorCode": {"offlineUserDataJobError": "INVALID_SHA256_FORMAT"}, "message": "not normalised and hashed",
                               "location": {"fieldPathElements": [{"fieldName": "operations", "index": place}, {"fieldName": kind}]}})
        return 200, ({"partialFailureError": {"code": 3, "message": "some", "details": [{"errors": errors}]}} if errors else {}), {}


class google_data_manager(Google):
    def throttled(self):
        return Refused(429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota",
                                       "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}]}})

    def handle(self, request):
        act = request.path.removeprefix("/v1/audienceMembers:")
        members = request.json["audienceMembers"]
        if act not in ("ingest", "remove") or len(members) > 10_000 or request.json["encoding"] != "HEX":
            raise Refused(400, {"error": {"status": "INVALID_ARGUMENT", "message": "not this way"}})
        emails = [self.email(member["userData"]["userIdentifiers"], "emailAddress") for member in members]
        wrong = [place for place, email in enumerate(emails) if not email]
        if wrong:  # nothing of the request is taken
            raise Refused(400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "There was a problem with the request.", "details": [
                {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [
                    {"field": f"audience_members[{place}].user_data", "description": "Email is not hex encoded.", "reason": "INVALID_HEX_ENCODING"} for place in wrong]}]}})
        for email in emails:
            if act == "ingest":
                self.held[email] = {}
            else:
                self.held.pop(email, None)
        return 200, {"requestId": "r"}, {}


class meta_custom_audiences(Network):
    def throttled(self):
        return Refused(400, {"error": {"message": "There have been too many calls to this ad-account's custom audiences.", "type": "OAuthException", "code": 80003}},
                       {"X-Business-Use-Case-Usage": json.dumps({"1": [{"type": "custom_audience", "estimated_time_to_regain_access": 0}]})})

    def handle(self, request):
        payload = request.json["payload"]
        if request.path != "/v25.0/A1/users" or len(payload["data"]) > 10_000:
            raise Refused(400, {"error": {"message": "Invalid parameter", "type": "OAuthException", "code": 100}})
        invalid = 0
        place = payload["schema"].index("EMAIL")
        for row in payload["data"]:
            if len(row) != len(payload["schema"]) or not all(HASH.fullmatch(value) for value in row if value) or self.refuses_hash(row[place]):
                invalid += 1
            elif request.method == "DELETE":
                self.held.pop(row[place], None)
            else:
                self.held[row[place]] = {}
        return 200, {"audience_id": "A1", "session_id": "1", "num_received": len(payload["data"]), "num_invalid_entries": invalid,
                     "invalid_entry_samples": {"row": "invalid"} if invalid else {}}, {}


NETWORKS = {cls.__name__: cls() for cls in (hubspot, salesforce, mailchimp, klaviyo, braze, google_customer_match, google_data_manager, meta_custom_audiences)}


class Handler(http.server.BaseHTTPRequestHandler):
    """The first part of the path says which network."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle_any(self):
        self.method = self.command
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        _, name, rest = self.path.split("/", 2)
        parts = urlsplit("/" + rest)
        self.path, self.query = parts.path, parse_qs(parts.query)
        with LOCK:
            network = NETWORKS[name]
            try:
                network.set_faults(json.loads((FOLDER / "faults").read_text(encoding="utf-8")).get(name, {}))
            except (FileNotFoundError, ValueError):
                pass
            try:
                self.json = json.loads(self.body) if self.body[:1] == b"{" else None
                status, answer, headers = network.answer(self)
            except Refused as refused:
                status, answer, headers = refused.answer
            except Exception as wrong:  # what the documentation does not provide for
                status, answer, headers = 400, {"message": f"cannot be read: {wrong!r}"}, {}
            with open(FOLDER / f"{name}.log", "a", encoding="utf-8") as log:
                log.write(f"{self.method} {self.path} {status}\n")
            (FOLDER / f"{name}.new").write_text(json.dumps(network.held, sort_keys=True), encoding="utf-8")
            (FOLDER / f"{name}.new").rename(FOLDER / name)
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        if status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    server = Server(("127.0.0.1", 0), Handler)
    (FOLDER / "port.new").write_text(str(server.server_port), encoding="utf-8")
    (FOLDER / "port.new").rename(FOLDER / "port")
    server.serve_forever()


main()
