"""STAND-IN, never deployed: what Twilio tells us unasked, signed as Twilio signs it, to this machine alone."""

import http.client
import queue
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from twilio.request_validator import RequestValidator

PATIENCE = 5.0  # seconds
OWN_MACHINE = ("127.0.0.1", "localhost", "::1")


class Telling:
    """Posts signed forms one after another, in a thread of its own, from the first one to `stop`."""

    def __init__(self, token: str) -> None:
        self._signs = RequestValidator(token)
        self._waiting: queue.SimpleQueue[tuple[str, Mapping[str, str]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def tell(self, url: str, form: Mapping[str, str]) -> None:
        """Have a form posted soon; nobody hears whether it arrived, as with Twilio."""
        self._waiting.put((url, form))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="stand-in:telling", daemon=True)
                self._thread.start()

    def tell_now(self, url: str, form: Mapping[str, str]) -> int | None:
        """Post a form and return the status of the answer; None: there was none, or the URL is not here."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in OWN_MACHINE:
            return None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": self._signs.compute_signature(url, dict(form)),
        }
        try:
            target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
            connection.request("POST", target, urlencode(form), headers)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def stop(self) -> None:
        """End once the form in hand is posted; those that wait are dropped."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put(None)
        thread.join()

    def _work(self) -> None:
        while (order := self._waiting.get()) is not None:
            self.tell_now(*order)
