"""Ending a call when its time is up: a time-out bounds each read, and a vendor that drips has many of them."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class CutOff:
    """Ends the connections that it holds at a moment of the monotonic clock, until it is closed."""

    def __init__(self, end: float) -> None:
        self.over = False
        self._end = end
        self._held: dict[int, tuple[socket.socket, threading.Timer]] = {}

    def hold(self, connection: socket.socket) -> None:
        """Have a connection ended, too; one that it holds already is held once."""
        number = connection.fileno()
        if number in self._held:
            return
        # It shares the connection whatever TLS makes of the other, so it can end it from another thread.
        spare = socket.socket(fileno=os.dup(number))
        timer = threading.Timer(max(self._end - time.monotonic(), 0), self._shut, [spare])
        self._held[number] = spare, timer
        timer.start()

    def close(self) -> None:
        """Let go of what has not been ended."""
        for spare, timer in self._held.values():
            timer.cancel()
            timer.join()
            spare.close()

    def _shut(self, spare: socket.socket) -> None:
        self.over = True
        try:
            spare.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself


@contextmanager
def cut_off(end: float) -> Iterator[CutOff]:
    """Hold this thread's connections (see `holding`) until a call is done, or its time is."""
    cut = CutOff(end)
    _current.cut = cut
    try:
        yield cut
    finally:
        _current.cut = None
        cut.close()


def holding() -> CutOff | None:
    """Return what bounds the call that this thread makes now, if anything does."""
    cut: CutOff | None = getattr(_current, "cut", None)
    return cut


_current = threading.local()
