#!/usr/bin/env python3
"""million.py STATE N: a state of examples/reference-hub with N accounts, a key and a grant each, and N / 100 targets."""

import base64
import json
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/reference-hub"))
sys.dont_write_bytecode = True
import reference_hub as hub

HEAD = b"\0\0\0\x0bssh-ed25519\0\0\0 "


def rows(many):
    for n in range(many):
        account, target = f"person-{n:07}", f"target-{n // 100:07}"
        if n % 100 == 0:
            driver = {"driver": "docker", "container": target}
            yield "target", {"name": target, "driver": driver, "user": "ada"}
        key = base64.b64encode(HEAD + os.urandom(32)).decode()
        yield "account", {"name": account}
        yield "key", {"account": account, "key": f"ssh-ed25519 {key} {account}@laptop"}
        yield "grant", {"account": account, "target": target}


def states(many):
    for seq, (kind, row) in enumerate(rows(many), 1):
        ident, account, target = hub.identity(kind, row)
        yield hub.KINDS.index(kind), ident, seq, account, target, 0, json.dumps({kind: row})


db = hub.open_state(sys.argv[1])
for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
    db.execute(f"PRAGMA {pragma}").fetchall()
db.execute("BEGIN")
db.executemany("INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?, ?)", states(int(sys.argv[2])))
db.execute("UPDATE state SET seq = (SELECT max(seq) FROM rows)")
db.execute("COMMIT")
db.execute("PRAGMA journal_mode = WAL").fetchall()
