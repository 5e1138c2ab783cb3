"""STAND-IN, never deployed: `python -m local.standins --port P --ses-port Q --state FILE --ses URL`.

Prints one JSON line `{"stripe": URL, "ses": URL, ...}` when it serves, and ends on SIGTERM or SIGINT.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from local.standins.server import StandIns


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m local.standins", description="Stand-ins of the providers.")
    parser.add_argument("--port", type=int, default=0, help="of Stripe's face and the control; 0: a free one")
    parser.add_argument("--ses-port", type=int, default=0, help="of the relay to SES; 0: a free one")
    parser.add_argument("--state", type=Path, help="file that intents, keys and ledger are kept in")
    parser.add_argument("--ses", help="base URL of the SES that mails are passed on to")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        standins = StandIns(port=options.port, ses_port=options.ses_port, state=options.state, ses=options.ses)
    except OSError as error:
        print(f"stand-ins: cannot serve on port {options.port or options.ses_port}: {error}", file=sys.stderr)
        return 1
    with standins:
        print(
            json.dumps(standins.urls),
            flush=True,
        )
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
