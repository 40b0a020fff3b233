#!/usr/bin/env python3
"""A webhook's receiver on loopback that behaves as badly as it is told.

usage: receiver.py <port, 0: any> <folder>

Writes <folder>/port, then of every record that it was sent a line of JSON to <folder>/received, before it answers. How it
behaves stands in <folder>/behaviour, JSON, read afresh for every request:

  fail      probability of HTTP 500, of not answering at all ("drop"), each after having noted the records
  drop
  refuse    keys whose batch is refused with HTTP 422
  status    answers this to everything, and notes nothing (with "retry_after": seconds as Retry-After)
  slow      seconds before it answers
  poison    keys whose batch gets HTTP 500
  secret    checks the signature: HTTP 401 without a good one

With <folder>/certificate.pem (certificate and key) it speaks TLS.
"""

import base64
import hashlib
import hmac
import http.server
import json
import random
import ssl
import sys
import threading
import time
from pathlib import Path

FOLDER = Path(sys.argv[2])
LOCK = threading.Lock()


def behaviour():
    try:
        return json.loads((FOLDER / "behaviour").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}


def signed(headers, body, secret):
    """As Standard Webhooks says, by its words and not by our code."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    good = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return good in headers.get("webhook-signature", "").split() and abs(time.time() - int(headers["webhook-timestamp"])) < 300


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        how = behaviour()
        if "slow" in how:
            time.sleep(how["slow"])
        if "secret" in how and not signed(self.headers, body, how["secret"]):
            return self.answer(401, "bad signature")
        if "status" in how:
            return self.answer(how["status"], "as told", how.get("retry_after"))
        given = json.loads(body)
        records = given if isinstance(given, list) else [given]
        keys = {record["key"] for record in records}
        if keys & set(how.get("poison", [])):
            return self.answer(500, "cannot bear one of these")
        if keys & set(how.get("refuse", [])):
            return self.answer(422, "do not want one of these")
        with LOCK, open(FOLDER / "received", "a", encoding="utf-8") as log:
            log.writelines(json.dumps(record | {"webhook_id": self.headers["webhook-id"], "at": time.time()}) + "\n" for record in records)
        if random.random() < how.get("drop", 0):
            self.close_connection = True
            return None
        if random.random() < how.get("fail", 0):
            return self.answer(500, "failed, although it was taken")
        return self.answer(200, "")

    def answer(self, status, text, retry_after=None):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    if (certificate := FOLDER / "certificate.pem").exists():
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    (FOLDER / "port.new").write_text(str(server.server_port), encoding="utf-8")
    (FOLDER / "port.new").rename(FOLDER / "port")
    server.serve_forever()


main()
