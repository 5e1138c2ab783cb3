"""STAND-IN, never deployed: what vendors tell us unasked, one thing after another, to this machine alone."""

import http.client
import queue
import threading
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

PATIENCE = 5.0  # seconds
PAUSE = 1.0  # seconds, before something is told again
OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


class Outbox:
    """Tells what it is given, in a thread of its own, from the first one to `stop`."""

    def __init__(self, tries: int = 1) -> None:
        self._tries = tries
        self._waiting: queue.SimpleQueue[Callable[[], int | None] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, tell: Callable[[], int | None]) -> None:
        """Have something told soon; again, up to so many tries, unless it is answered with a 2xx."""
        self._waiting.put(tell)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="stand-in:outbox", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End once what is in hand is told; what waits is dropped."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self._stopping.set()
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put(None)
        thread.join()

    def _work(self) -> None:
        while (tell := self._waiting.get()) is not None:
            for left in reversed(range(self._tries)):
                status = tell()
                if status is not None and status < 300:
                    break
                if left and self._stopping.wait(PAUSE):
                    break


def post(url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
    """Post a body and return the status of the answer; None: there was none, or the URL is not here."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in OWN_MACHINE:
        return None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    try:
        target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        connection.request("POST", target, body, dict(headers))
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
