#!/usr/bin/env python3
"""A user's certificate in base64 with one principal of any bytes, by an authority whose signature is none.

For what is asked of programs that see a certificate only after sshd has checked it.

    draft-certificate.py AUTHORITY_BASE64 PRINCIPAL
"""

import base64
import os
import struct
import sys


def string(data):
    return struct.pack(">I", len(data)) + data


authority = base64.b64decode(sys.argv[1])
principal = os.fsencode(sys.argv[2])
blob = b"".join(
    [
        string(b"ssh-ed25519-cert-v01@openssh.com"),
        string(bytes(32)),
        string(bytes([7]) * 32),
        struct.pack(">QI", 1, 1),
        string(b"draft"),
        string(string(principal)),
        struct.pack(">QQ", 0, 2**64 - 1),
        string(b""),
        string(string(b"permit-pty") + string(b"")),
        string(b""),
        string(authority),
        string(b"unsigned"),
    ]
)
print(base64.b64encode(blob).decode())
