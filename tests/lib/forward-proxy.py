#!/usr/bin/env python3
"""forward-proxy.py PORT: a proxy for plain HTTP; what it was asked for goes to standard output."""

import sys
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        print(self.path, flush=True)
        url = urlsplit(self.path)
        there = HTTPConnection(url.hostname, url.port or 80, timeout=10)
        there.request("GET", url.path + (f"?{url.query}" if url.query else ""), headers=dict(self.headers))
        answer = there.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
