"""Run localstripe on a free port of 127.0.0.1: it says which, and ends when its standard input does.

Run by the Python of .venv-localstripe. localstripe listens on every interface and keeps its state in /tmp,
so it is started here and not by its own command. Of what we send it does not know one thing, which is taken
out on the way in: which payment methods are allowed.
"""

import os
import socket
import sys
import threading
from typing import Any

from aiohttp import web
from localstripe.resources import PaymentIntent, Store
from localstripe.server import app


def main() -> None:
    """Serve until the parent is gone."""
    Store.dump_to_disk = lambda _: None
    create = PaymentIntent._api_create

    def create_without(automatic_payment_methods: Any = None, **data: Any) -> Any:
        return create(**data)

    PaymentIntent._api_create = create_without
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)  # whoever comes before the server is ready waits
    sys.stdout.write(f"{sock.getsockname()[1]}\n")
    sys.stdout.flush()
    web.run_app(app, sock=sock, access_log=None, print=None, handle_signals=False)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


main()
