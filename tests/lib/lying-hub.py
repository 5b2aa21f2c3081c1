#!/usr/bin/env python3
"""lying-hub.py PORT: a hub that answers wrongly, each path in its own way; what it was asked goes to standard output.

For tests of what refresh-keys does with an answer that is slow, cut, huge, of another type or no answer at all.
"""

import gzip
import sys
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FIRST = b'{"feed": 1, "kind": "whole"}\n'
LAST = b'{"end": {"cursor": "1"}}\n'
ROW = b'{"account": {"name": "liar"}}\n'
KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
GOOD = FIRST + ROW + LAST
asked = {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.split("?")[0].strip("/")
        asked[name] = asked.get(name, 0) + 1
        print(name, "authorized" if "Authorization" in self.headers else "bare", flush=True)
        getattr(self, name.replace("-", "_"), self.missing)()
        self.close_connection = True

    def answer(self, status, body=b"", headers=(), length=None, media_type="application/x-ndjson"):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        # A connection that is closed without a word may be taken for a cut answer to the next question on it.
        self.send_header("Connection", "close")
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def missing(self):
        self.answer(404)

    def good(self):
        self.answer(200, GOOD)

    def html(self):
        self.answer(200, b"<html>Please log in</html>", media_type="text/html")

    def html_as_feed(self):
        self.answer(200, b"<html>Please log in</html>\n")

    def cut_body(self):
        self.answer(200, GOOD[:40], length=len(GOOD))

    def no_last_line(self):
        self.answer(200, FIRST + ROW)

    def cut_gzip(self):
        body = gzip.compress(GOOD)[:-12]
        self.answer(200, body, [("Content-Encoding", "gzip")])

    def bomb(self):
        pack = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = b"".join(pack.compress(b" " * (1 << 20)) for _ in range(64)) + pack.flush()
        self.answer(200, body, [("Content-Encoding", "gzip")])

    def brotli(self):
        self.answer(200, b"x", [("Content-Encoding", "br")])

    def huge(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(64):
                self.wfile.write(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        except OSError:
            pass

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        try:
            for byte in GOOD:
                self.wfile.write(bytes([byte]))
                time.sleep(1)
        except OSError:
            pass

    def silent(self):
        time.sleep(60)

    def elsewhere(self):
        self.answer(302, headers=[("Location", "http://127.0.0.2:8092/good")])

    def here(self):
        self.answer(302, headers=[("Location", "/good")])

    def circle(self):
        self.answer(302, headers=[("Location", "/circle")])

    def busy_twice(self):
        if asked["busy-twice"] < 3:
            return self.answer(503, headers=[("Retry-After", "1")])
        return self.good()

    def busy_for_an_hour(self):
        self.answer(503, headers=[("Retry-After", "3600")])

    def endless(self):
        self.answer(200, FIRST + b'{"next": "' + b"x" * 2000 + b'"}\n')

    def ever_more(self):
        self.answer(200, FIRST + b'{"account": {"name": 7}}\n' * 300 + b'{"next": "more"}\n')

    def hostile_rows(self):
        rows = [
            b'{"account": {"name": "liar"}}',
            b'{"account": {"name": "../../etc/passwd"}}',
            b'{"account": {"name": "a\\u0000b"}}',
            b'{"account": {"name": "' + b"n" * 5000 + b'"}}',
            b'{"account": {"name": "extra", "root": true}}',
            b'{"key": {"account": "liar", "target": "liar", "key": "ssh-ed25519 AAAA"}}',
            b'{"key": {"account": "liar", "key": "' + b"A" * 200_000 + b'"}}',
            b'{"key": {"account": "liar", "key": "cert-authority ' + KEY + b'"}}',
            b'{"target": {"name": "tele", "user": "x", "driver": {"driver": "teleport"}}}',
            b'{"target": {"name": "pol", "user": "x", "driver": {"driver": "docker", "container": "c"}, "policy": {"root": 1}}}',
            b'{"grant": {"account": "liar", "target": "nowhere", "expires": 1e400}}',
            b'{"target": {"name": "deep", "user": "x", "driver": ' + b"[" * 100_000,
            b'{"gone": {"everything": "now"}}',
        ]
        self.answer(200, FIRST + ROW + b"".join(row + b"\n" for row in rows) + b'{"account": {"name": "last"}}\n' + LAST)

    def other_version(self):
        self.answer(200, b'{"feed": 2, "kind": "whole"}\n' + LAST)

    def wrong_encoding(self):
        self.answer(200, FIRST + b'{"account": {"name": "\xff\xfe"}}\n' + ROW + LAST)

    def wrong_types(self):
        self.answer(200, FIRST + b'{"account": {"name": 7}}\n[]\nnull\n{"robot": {}}\n' + ROW + LAST)


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
