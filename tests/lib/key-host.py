#!/usr/bin/env python3
"""key-host.py PORT DIR: serves DIR/NAME.keys as GitHub and GitLab do, with ETag, and lies for some names.

What it was asked goes to standard output, a line each: the path, the status, and how many questions were there at once.
A file DIR/NAME.how says how the answer for NAME is to be wrong.
"""

import hashlib
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, DIR = int(sys.argv[1]), sys.argv[2]
lock = threading.Lock()
at_once = 0
asked = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        global at_once
        with lock:
            at_once += 1
            now = at_once
            asked[self.path] = asked.get(self.path, 0) + 1
        time.sleep(0.02)
        # Before the answer: who reads the list has had it.
        with lock:
            at_once -= 1
        status, body, headers = self.reply(asked[self.path])
        print(self.path, status, now, flush=True)
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 304:
            self.wfile.write(body)

    def reply(self, times):
        name = self.path.removeprefix("/").removesuffix(".keys")
        plain = ("Content-Type", "text/plain; charset=utf-8")
        if "/" in name or "%" in name or not os.path.exists(f"{DIR}/{name}.keys"):
            return 404, b"Not Found", [plain]
        how = []
        if os.path.exists(f"{DIR}/{name}.how"):
            with open(f"{DIR}/{name}.how") as file:
                how = file.read().split()
        if how[:1] == ["html"]:
            return 200, b"<html>Sign in</html>", [("Content-Type", "text/html; charset=utf-8")]
        if how[:1] == ["elsewhere"]:
            return 302, b"", [("Location", "http://127.0.0.2:8097/alice.keys")]
        if how[:1] == ["twice"] and times <= 2:
            return int(how[1]), b"", [("Retry-After", "1")]
        if how[:1] == ["status"]:
            return int(how[1]), b"no", [("Retry-After", "3600")]
        with open(f"{DIR}/{name}.keys", "rb") as file:
            body = file.read()
        etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
        if how[:1] == ["stuck"]:
            etag = '"1"'
        if self.headers.get("If-None-Match") == etag:
            return 304, b"", [("ETag", etag)]
        return 200, body, [plain, ("ETag", etag)]


class Host(ThreadingHTTPServer):
    request_queue_size = 64


Host(("127.0.0.1", PORT), Handler).serve_forever()
