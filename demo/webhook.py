"""A webhook's receiver: prints what it is sent, and ends after so many records. usage: webhook.py <port> <records>"""

import http.server
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        record = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print(f"   POST {self.path}  {json.dumps(record['row'])}\n        type {record['type']}, webhook-signature {self.headers['webhook-signature'][:16]}…", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.timeout = 30
for _ in range(int(sys.argv[2])):
    server.handle_request()
