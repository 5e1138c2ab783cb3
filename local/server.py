"""The HTTP face of the local stack: Chalice's local server class, made fit for keep-alive and real bodies.

Chalice's own handler answers a keep-alive connection after 44 ms (Nagle), reads a chunked body as empty,
takes any length for granted, and answers a path that has no route as if a token were missing, with the token
that was sent in its answer; those four are mended here and nothing else.
"""

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LocalChalice, ThreadedHTTPServer

MOST_BYTES = 10 * 1024 * 1024  # API Gateway's own limit; the service's is below it
JSON = {"Content-Type": "application/json"}
NO_ROUTE = '{"error": "not_found", "message": "There is no such route: GET /docs lists those there are."}'
API_TIMEOUT_SECONDS = 29  # API Gateway gives up then


class BadFraming(Exception):
    """The request's body cannot be read; the connection is closed after the answer."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = f'{{"error": "{error}", "message": "{message}"}}'


class ApiHandler(ChaliceRequestHandler):
    """One connection of a client."""

    disable_nagle_algorithm = True
    timeout = 75  # seconds that an idle connection is kept
    server: "ApiServer"

    def answer(self) -> None:
        """Read one request whole and let Chalice answer it."""
        with self.server.in_hand():
            try:
                self._body = self._read_body()
            except BadFraming as fault:
                self.close_connection = True
                self._send_http_response(fault.status, {"Connection": "close"}, fault.body)
                return
            if self._has_route():
                self._generic_handle()
            else:
                self._send_http_response(404, JSON, NO_ROUTE)

    def _has_route(self) -> bool:
        try:
            self.local_gateway.event_converter._route_matcher.match_route(self.path)
        except ValueError:
            return False
        return True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = answer  # noqa: N815  # as http.server names them

    def _parse_payload(self) -> tuple[dict[str, str], bytes | None]:
        return dict(self.headers), self._body

    def _read_body(self) -> bytes | None:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = self.headers.get("content-length", "0").strip()
        if not (length.isascii() and length.isdigit()):
            raise BadFraming(400, "bad_request", "Content-Length is not a number.")
        if int(length) > MOST_BYTES:
            raise BadFraming(413, "body_too_large", "The body is above 10 MB.")
        return self._exactly(int(length)) if int(length) else None

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := self._chunk_size():
            if len(body) + size > MOST_BYTES:
                raise BadFraming(413, "body_too_large", "The body is above 10 MB.")
            body += self._exactly(size)
            self._exactly(2)
        while self.rfile.readline(65_537).strip():
            pass  # trailers say nothing to us
        return bytes(body)

    def _chunk_size(self) -> int:
        line = self.rfile.readline(1_024).split(b";")[0].strip()
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", line):
            raise BadFraming(400, "bad_request", "The chunked body is malformed.")
        return int(line, 16)

    def _exactly(self, length: int) -> bytes:
        got: bytes = self.rfile.read(length)
        if len(got) < length:
            raise BadFraming(400, "bad_request", "The body ended early.")
        return got

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as http.server names it
        """Say nothing: the service logs its own events."""


class ApiServer(ThreadedHTTPServer):
    """A threaded server that knows how many requests it has in hand."""

    request_queue_size = 128

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._in_hand = 0
        self._changed = threading.Condition()

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Count a request while it is being answered."""
        with self._changed:
            self._in_hand += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_hand -= 1
                self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Wait until every request in hand is answered, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_hand == 0, timeout=seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; the service has logged what went wrong in it."""


class Api:
    """Chalice's app behind a socket, which is taken at once; requests are answered from `start` on."""

    def __init__(self, host: str, port: int) -> None:
        """Take the socket, port 0 for a free one; raises OSError when the port is in use."""
        self._server = ApiServer((host, port), ApiHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="api")
        self.url = f"http://{host}:{self._server.server_address[1]}"

    @property
    def port(self) -> int:
        """The port that was taken."""
        return int(self._server.server_address[1])

    def start(self, app: Chalice) -> None:
        """Answer requests from now on, each in a thread of its own."""
        # As chalice.local does it: `current_request` becomes one per thread.
        if not isinstance(app, LocalChalice):  # it was served before
            app.__class__ = type("LocalApp", (LocalChalice, app.__class__), {})
        config = Config.create(chalice_app=app, app_name=app.app_name, lambda_timeout=API_TIMEOUT_SECONDS)
        self._server.RequestHandlerClass = functools.partial(ApiHandler, app_object=app, config=config)
        self._thread.start()

    def stop(self) -> None:
        """Answer what is in hand and let the socket go."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.drain(API_TIMEOUT_SECONDS)
        self._server.server_close()
