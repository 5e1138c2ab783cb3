"""Progress of something that takes a while: one line that changes on a terminal, plain lines elsewhere."""

import sys
import time

TERMINAL_SECONDS, PLAIN_SECONDS = 0.1, 2.0  # the least between two lines


class Progress:
    """Shows the last thing it was told, not too often."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._line = ""
        self._shown = ""
        self._at = 0.0

    def show(self, line: str) -> None:
        """Say where things stand."""
        self._line = line
        if time.monotonic() - self._at >= (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            self._put()

    def end(self) -> None:
        """Leave the last line standing."""
        self._put()
        if self._terminal:
            print(flush=True)

    def _put(self) -> None:
        if self._line != self._shown:
            print(f"\r\x1b[K  {self._line}" if self._terminal else f"  {self._line}\n", end="", flush=True)
            self._shown = self._line
            self._at = time.monotonic()
