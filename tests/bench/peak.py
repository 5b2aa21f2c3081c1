#!/usr/bin/env python3
"""peak.py COMMAND...: runs it, and prints its wall and processor milliseconds and its greatest size in KiB."""

import resource
import subprocess
import sys
import time

begun = time.monotonic()
status = subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
wall = time.monotonic() - begun
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(round(wall * 1000), round((used.ru_utime + used.ru_stime) * 1000), used.ru_maxrss)
sys.exit(status)
