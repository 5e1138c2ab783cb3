"""A consumer process by itself, as one Lambda container: `python -m local.worker`, told all by its environment.

It polls every queue that app.py declares until SIGTERM, and runs the schedules if SCHEDULES=1. Tests start
several and kill them.
"""

import os
import signal
import sys
import threading

from local.event_sources import consuming
from local.options import Options


def main() -> int:
    """Consume until told to stop; says `ready` once it polls."""
    from app import app  # its settings are the environment, which is complete when this process starts

    options = Options.from_env(os.environ)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with consuming(
        app,
        os.environ,
        timeout=options.function_timeout,
        every=options.every,
        schedules=os.environ.get("SCHEDULES") == "1",
        report=lambda line: print(line, file=sys.stderr, flush=True),
    ):
        print("ready\n", end="", flush=True)  # in one piece: its threads log
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
