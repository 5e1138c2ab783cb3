"""A vendor that lets its answer drip: each byte comes in time, and the call ends all the same."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from chalicelib.domain.errors import Ambiguous, ProviderError
from chalicelib.providers.http_calls import Line, Reply
from chalicelib.providers.stripe_payments import StripePayments
from tests.fakes import START, ManualClock, told
from tests.functional.test_stripe_connection import create, self_signed

CALL_SECONDS = 0.5
DEADLINE = START + timedelta(minutes=1)
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
Call = Callable[[str], object]


def to_line(url: str) -> Reply:
    line = Line("the vendor", ManualClock(), call_seconds=CALL_SECONDS)
    with closing(line):
        return line.post(url, b"{}", {}, deadline=DEADLINE)


def to_stripe(url: str) -> object:
    payments = StripePayments(told("sk_test_1"), ManualClock(), api_base=url, call_seconds=CALL_SECONDS)
    with closing(payments):
        return create(payments)


def hear(connection: socket.socket) -> None:
    """Read a whole request."""
    with connection.makefile("rb") as heard:
        heard.readline()
        heard.read(int(http.client.parse_headers(heard)["Content-Length"]))


@contextmanager
def a_dripping_vendor(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve one connection: each request is answered so, the last one with bytes that drip after it."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listening.accept()
        try:
            with accepted if tls is None else tls.wrap_socket(accepted, server_side=True) as connection:
                for answer in answers:
                    hear(connection)
                    connection.sendall(answer)
                until = time.monotonic() + 4 * CALL_SECONDS
                while time.monotonic() < until:
                    connection.sendall(b"x")
                    time.sleep(CALL_SECONDS / 10)
        except OSError:
            return  # the caller has gone

    thread = threading.Thread(target=serve)
    thread.start()
    with listening:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def cut_off(call: Call, url: str) -> ProviderError:
    """Return how a call ended, in no more than the time that it has."""
    began = time.monotonic()
    with pytest.raises(ProviderError) as caught:
        call(url)
    assert time.monotonic() - began < 2 * CALL_SECONDS
    return caught.value


@pytest.mark.parametrize("call", [to_line, to_stripe])
@pytest.mark.parametrize(
    "begins",
    [
        b"",
        b"HTTP/1.1 402 Payment Required\r\nX-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["status line", "headers", "body", "body of no length"],
)
def test_an_answer_that_drips_ends_with_the_call_and_leaves_it_unknown(call: Call, begins: bytes) -> None:
    with a_dripping_vendor(begins) as url:
        error = cut_off(call, url)
    assert (type(error), error.reason) == (Ambiguous, "provider_timeout")


def test_a_connection_that_is_used_again_is_cut_off_too_and_over_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = self_signed(tmp_path)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    line = Line("the vendor", ManualClock(), call_seconds=CALL_SECONDS)

    def call(url: str) -> Reply:
        return line.post(url, b"{}", {}, deadline=DEADLINE)

    with closing(line), a_dripping_vendor(WHOLE, WHOLE, b"", tls=context) as url:
        assert [call(url).status, call(url).status] == [200, 200]
        time.sleep(CALL_SECONDS)  # the first calls' own ends come and go
        error = cut_off(call, url)
    assert (type(error), error.reason) == (Ambiguous, "provider_timeout")


def test_a_call_that_is_done_leaves_no_thread_behind() -> None:
    line = Line("the vendor", ManualClock(), call_seconds=CALL_SECONDS)
    threads = threading.active_count()
    with a_dripping_vendor(WHOLE, WHOLE) as url, closing(line):
        for _ in range(2):
            assert line.post(url, b"{}", {}, deadline=DEADLINE).content == b"{}"
        assert threading.active_count() == threads + 1  # the vendor's
