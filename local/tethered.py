"""Run a module's `main` in a process that ends with its parent, however the parent ends.

    python local/tethered.py ministack.app

The parent holds the other end of standard input. When it closes (a parent that was killed closes it, too)
this process sends itself SIGTERM, so that what it runs can save its state. Works on every POSIX system.
"""

import os
import signal
import sys
import threading
from importlib import import_module


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module = sys.argv.pop(1)
    sys.exit(import_module(module).main())
