"""A process ends soon after the one that started it was killed."""

import os
import signal
import subprocess
import sys
import time

from runtime import parent_watch

CODE = """
import os, time
from runtime import parent_watch
child = os.fork()
if not child:
    parent_watch.end_with_parent()
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def test_a_loader_process_does_not_outlive_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    time.sleep(0.2)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 30
    while parent_watch.started(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not parent_watch.started(child)
