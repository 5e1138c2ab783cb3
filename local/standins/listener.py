"""STAND-IN, never deployed: a small threaded HTTP/1.1 server that can also be really down.

While it is down its port is bound and nobody listens, so the kernel refuses connections as it does for a
dead server: the caller knows that nothing was sent. Nobody is told of a refused connection, but Linux counts
them for the whole machine (AttemptFails), and that is how the server knows when as many as ordered, or one or
two more, were refused; elsewhere each one ordered stands for a second.
"""

import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from local.standins.wire import Answer, Request, Silent

SILENCE = timedelta(seconds=60)  # the longest that a caller is left waiting
TICK_SECONDS = 0.002
FINISHING_SECONDS = 0.2  # given to requests that are in hand before the port goes down
COUNTERS = Path("/proc/net/snmp")


class Listener:
    """Serves `handle` on a port, from `start` to `stop`."""

    def __init__(
        self, host: str, port: int, handle: Callable[[Request], Answer], *, silence: timedelta = SILENCE
    ) -> None:
        self.handle = handle
        self.silence = silence
        self.stopping = threading.Event()
        self._down = False
        self._to_refuse = 0
        self._down_since = 0.0
        self._refused_before: int | None = None
        self._socket = _bound(host, port)
        self._socket.listen(128)
        self._address = self._socket.getsockname()
        self._gate = threading.Lock()
        self._lock = threading.Lock()
        self._idle: set[socket.socket] = set()
        self._serving: dict[socket.socket, threading.Thread] = {}
        self._acceptor = threading.Thread(target=self._accept, name=f"stand-in:{self.port}", daemon=True)

    @property
    def port(self) -> int:
        """The port it serves."""
        return int(self._address[1])

    @property
    def down(self) -> bool:
        """Whether connections are being refused."""
        return self._down

    @property
    def refusals_left(self) -> int:
        """How many connections are still to be refused."""
        return self._to_refuse

    def start(self) -> None:
        """Begin to serve."""
        self._acceptor.start()

    def stop(self) -> None:
        """Cut every connection and wait for every thread."""
        self.stopping.set()
        self._wake()
        self._acceptor.join()
        with self._lock:
            serving = dict(self._serving)
        for connection, thread in serving.items():
            _cut(connection)
            thread.join()

    def refuse(self, count: int) -> None:
        """Refuse the next `count` connections, from now on, and cut those that are open and idle."""
        with self._gate:
            self._to_refuse += count
            if self._down:
                return  # a shutdown now would spoil the socket that is to listen again
            self._down = True
            self._down_since = time.monotonic()
            self._refused_before = _refused_on_this_machine()
            self._wake()
        until = time.monotonic() + FINISHING_SECONDS
        while self._busy() and time.monotonic() < until:
            time.sleep(TICK_SECONDS)
        with self._lock:
            idle = list(self._idle)
        for connection in idle:
            _cut(connection)

    def _busy(self) -> bool:
        """Whether a request of another thread than this one is in hand."""
        me = threading.current_thread()
        with self._lock:
            return any(thread is not me and c not in self._idle for c, thread in self._serving.items())

    def recover(self) -> None:
        """Listen again, whatever was ordered."""
        with self._gate:
            self._to_refuse = 0

    def resting(self, connection: socket.socket, idle: bool) -> None:
        """Note that a connection waits for its next request, or has one in hand."""
        with self._lock:
            (self._idle.add if idle else self._idle.discard)(connection)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # on Linux this refuses from now on, and wakes `accept`

    def _accept(self) -> None:
        self._socket.settimeout(1.0)
        while not self.stopping.is_set():
            if self.down:
                self._be_down()
                continue
            try:
                connection, _ = self._socket.accept()
            except OSError:
                continue  # woken, or nobody came within the second
            connection.setblocking(True)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._serving[connection] = thread
            thread.start()
        self._socket.close()

    def _be_down(self) -> None:
        with self._gate:  # which `refuse` holds until the socket that is to be closed has been shut down
            self._socket.close()
            self._socket = _bound(*self._address)
        while not self.stopping.wait(TICK_SECONDS):
            with self._gate:  # an order that comes now finds the port open or closed, not in between
                if self._refused() >= self._to_refuse:
                    self._socket.listen(128)
                    self._socket.settimeout(1.0)
                    self._to_refuse, self._down = 0, False
                    return

    def _refused(self) -> int:
        now, before = _refused_on_this_machine(), self._refused_before
        if now is None or before is None:
            return int(time.monotonic() - self._down_since)
        return now - before

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # the caller has gone
                _Conversation(connection, self)
        finally:
            self.resting(connection, idle=False)
            with self._lock:
                self._serving.pop(connection, None)
            connection.close()


class _Conversation(BaseHTTPRequestHandler):
    """One connection; answers leave in one piece, so that nothing waits for Nagle."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 75

    def __init__(self, connection: socket.socket, listener: Listener) -> None:
        self._listener = listener
        super().__init__(connection, connection.getpeername(), listener)  # type: ignore[arg-type]  # no socketserver

    def handle_one_request(self) -> None:
        self._listener.resting(self.connection, idle=True)
        if self._listener.down or self._listener.stopping.is_set():
            self.close_connection = True
            return
        super().handle_one_request()

    def parse_request(self) -> bool:
        self._listener.resting(self.connection, idle=False)
        return super().parse_request()

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): text for name, text in self.headers.items()}
        length = int(headers.get("content-length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the caller died in mid-sentence: nothing was asked
            return
        try:
            answer = self._listener.handle(Request(self.command, path, query, headers, body))
        except Silent:
            self._stay_silent()
            return
        self._reply(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - as http.server names them

    def _reply(self, answer: Answer) -> None:
        body = answer.rendered()
        self.send_response(answer.status)
        for name, text in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        if self._listener.down:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _stay_silent(self) -> None:
        """Say nothing until the caller gives up, or has waited for long enough."""
        self.close_connection = True
        until = time.monotonic() + self._listener.silence.total_seconds()
        while time.monotonic() < until and not self._listener.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server names it
        """Log nothing: the ledger is the log."""


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _refused_on_this_machine() -> int | None:
    """Return how many connections were refused since the machine started; None where nobody counts them."""
    if sys.platform != "linux" or not COUNTERS.exists():
        return None
    names, figures = [line.split() for line in COUNTERS.read_text().splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(names, figures, strict=True))["AttemptFails"])
