"""Webhooks over real sockets: how they are signed, whom they are never sent to, and how long they may take."""

import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from chalicelib.domain.endpoint import is_hook_url
from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError
from chalicelib.domain.providers import Hook, HookAnswer
from chalicelib.providers import webhook_sender
from chalicelib.providers.http_calls import MOST_BYTES
from chalicelib.providers.webhook_sender import WebhookSender, bounded_resolver
from chalicelib.system import signing_secret
from local.standins.listener import Listener
from local.standins.wire import Answer, Request
from tests.fakes import ManualClock
from tests.functional.hostile import ANSWERS, URLS

NAME = "https://shop.example/hooks"
PUBLIC = "93.184.215.14"
CALL_SECONDS = 0.6
PATIENCE = 5.0  # seconds for which a receiver goes on, should nobody cut it off


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def a_hook(url: str = NAME, *, secrets: tuple[str, ...] = ()) -> Hook:
    body = '{"type":"order.paid","data":{"name":"größer"}}'.encode()
    return Hook("job_1", url, body, secrets or (signing_secret(),))


class Names:
    """A name server that gives these answers, one after another, the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, seconds: float) -> Callable[..., Any]:
        return self._resolve

    def _resolve(self, host: str, port: int, *_: Any) -> list[Any]:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [_row(address, port) for address in answer]


def _row(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


class Opened:
    """The sockets that were opened, and whom they were to be connected to; each connection is refused."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        opened = self
        self.count = 0
        self.to: list[str] = []

        class Counting(socket.socket):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                opened.count += 1
                super().__init__(*arguments, **named)

            def connect(self, address: Any) -> None:
                opened.to.append(address[0])
                raise ConnectionRefusedError

        patch.setattr(socket, "socket", Counting)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


def post(sender: WebhookSender, hook: Hook, *, left: timedelta = timedelta(minutes=1)) -> HookAnswer:
    return sender.post(hook, deadline=now() + left)


def fails(sender: WebhookSender, hook: Hook) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        post(sender, hook)
    return caught.value


def ends(sender: WebhookSender, hook: Hook) -> str:
    """Return the status that a post was answered with, or why nobody knows."""
    try:
        return str(post(sender, hook).status)
    except Ambiguous as error:
        return error.reason


class TestHostileUrls:
    def test_there_are_enough(self) -> None:
        assert len(set(URLS)) >= 60
        assert len(ANSWERS) >= 30

    @pytest.mark.parametrize("url", URLS)
    def test_a_url_that_says_so_itself_opens_no_socket(self, opened: Opened, url: str) -> None:
        assert is_hook_url(url) is False
        sender = WebhookSender(ManualClock(now()))
        error = fails(sender, a_hook(url))
        assert (type(error), error.reason) == (Declined, "url_refused")
        assert opened.count == 0

    @pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
    @pytest.mark.parametrize("loopback", [False, True], ids=["deployed", "local"])
    def test_a_host_that_is_not_public_opens_no_socket(
        self, opened: Opened, answer: list[str], loopback: bool
    ) -> None:
        names = Names(answer)
        sender = WebhookSender(ManualClock(now()), loopback=loopback, resolver=names)
        error = fails(sender, a_hook())
        assert (type(error), error.reason) == (Declined, "address_refused")
        assert (opened.count, names.asked) == (0, 1)

    def test_a_host_that_answers_otherwise_the_second_time_is_asked_once(self, opened: Opened) -> None:
        names = Names([PUBLIC], ["169.254.169.254"])
        error = fails(WebhookSender(ManualClock(now()), resolver=names), a_hook())
        assert (type(error), error.reason) == (NotSent, "connection_failed")
        assert (names.asked, opened.to) == (1, [PUBLIC])

    def test_a_host_of_many_addresses_is_given_up_after_two(self, opened: Opened) -> None:
        names = Names([f"93.184.215.{last}" for last in range(1, 200)])
        fails(WebhookSender(ManualClock(now()), resolver=names), a_hook())
        assert len(opened.to) == 2

    @pytest.mark.parametrize("url", ["http://127.0.0.1:{}/", "https://localhost:{}/", "http://[::1]:{}/"])
    def test_this_machine_is_called_on_this_machine_alone(self, opened: Opened, url: str) -> None:
        assert not is_hook_url(url.format(9000))
        assert is_hook_url(url.format(9000), loopback=True)
        error = fails(WebhookSender(ManualClock(now())), a_hook(url.format(9000)))
        assert error.reason == "url_refused"
        assert opened.count == 0

    @pytest.mark.parametrize(
        "url", ["http://10.0.0.1:9000/", "http://shop.example/", "http://127.0.0.2:9000/", "http://127.1:9000/"]
    )
    def test_nothing_else_is_called_from_one_machine_either(self, opened: Opened, url: str) -> None:
        assert not is_hook_url(url, loopback=True)
        assert fails(WebhookSender(ManualClock(now()), loopback=True), a_hook(url)).reason == "url_refused"
        assert opened.count == 0


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "https://shop.example/hooks?venue=1&x=%20",
        "https://SHOP.example:443/",
        "https://hooks.shop-1.example:8443/a/b",
        "https://xn--shp-sna.example/",
        "https://1password.example/",
    ],
)
def test_a_plain_url_is_allowed(url: str) -> None:
    assert is_hook_url(url)


class Receiver:
    """A receiver that answers as it is told and keeps what came."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.listener = Listener("127.0.0.1", 0, self._handle)
        self.url = f"http://127.0.0.1:{self.listener.port}/hooks?venue=1"

    def _handle(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answer

    def __enter__(self) -> "Receiver":
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.stop()


@pytest.fixture
def sender() -> WebhookSender:
    return WebhookSender(ManualClock(now()), loopback=True, call_seconds=5)


class TestSigning:
    def test_what_is_posted_is_what_the_standards_own_library_verifies(self, sender: WebhookSender) -> None:
        secret = signing_secret()
        with Receiver(Answer(200, b"thanks")) as receiver:
            hook = a_hook(receiver.url, secrets=(secret,))
            answer = post(sender, hook)
        [request] = receiver.requests
        assert (request.method, request.path, request.query) == ("POST", "/hooks", "venue=1")
        assert request.body == hook.body
        assert request.headers["webhook-id"] == "job_1"
        assert request.headers["host"] == receiver.url.split("/")[2]
        assert request.headers["content-type"] == "application/json"
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
        assert (answer.status, answer.after) == (200, None)
        assert timedelta(0) <= answer.took < timedelta(seconds=5)

    def test_while_a_secret_is_changed_both_verify_and_no_other(self, sender: WebhookSender) -> None:
        new, old, other = signing_secret(), signing_secret(), signing_secret()
        with Receiver(Answer(204, b"")) as receiver:
            post(sender, a_hook(receiver.url, secrets=(new, old)))
        [request] = receiver.requests
        assert len(request.headers["webhook-signature"].split()) == 2
        for secret in (new, old):
            standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(other).verify(request.body, dict(request.headers))

    def test_a_secret_shows_in_no_text_of_a_hook(self) -> None:
        assert "whsec_" not in repr(a_hook(secrets=("whsec_abc",)))


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 204, 301, 302, 307, 400, 404, 410, 429, 500, 503])
    def test_every_answer_comes_back_and_no_redirect_is_followed(
        self, sender: WebhookSender, status: int
    ) -> None:
        with Receiver(Answer(status, b"", {"Location": "http://127.0.0.1:9/", "Retry-After": "7"})) as receiver:
            answer = post(sender, a_hook(receiver.url))
        assert (answer.status, answer.after) == (status, timedelta(seconds=7))
        assert len(receiver.requests) == 1

    def test_a_huge_answer_is_read_to_its_bound_and_not_kept(
        self, sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []
        real = http.client.HTTPResponse.read

        def counted(response: http.client.HTTPResponse, most: int | None = None) -> bytes:
            content = real(response, most)
            read.append(len(content))
            return content

        monkeypatch.setattr(http.client.HTTPResponse, "read", counted)
        with Receiver(Answer(200, b"x" * 5_000_000)) as receiver:
            assert post(sender, a_hook(receiver.url)).status == 200
        assert read == [MOST_BYTES]

    @pytest.mark.parametrize(
        ("said", "kept"), [("req_1", "req_1"), ("", None), ("Ada Lovelace", None), ("x" * 101, None)]
    )
    def test_a_reference_is_kept_if_it_looks_like_one(
        self, sender: WebhookSender, said: str, kept: str | None
    ) -> None:
        with Receiver(Answer(200, b"", {"x-request-id": said})) as receiver:
            assert post(sender, a_hook(receiver.url)).reference == kept

    def test_a_connection_that_is_refused_sent_nothing(self, sender: WebhookSender) -> None:
        with Receiver(Answer(200, b"")) as receiver:
            url = receiver.url
        error = fails(sender, a_hook(url))
        assert (type(error), error.reason) == (NotSent, "connection_failed")

    def test_a_host_that_does_not_resolve_sent_nothing(self) -> None:
        def resolver(_: float) -> Callable[..., Any]:
            def resolve(*_: Any) -> Any:
                raise socket.gaierror("no such name")

            return resolve

        error = fails(WebhookSender(ManualClock(now()), resolver=resolver), a_hook())
        assert (type(error), error.reason) == (NotSent, "name_not_resolved")

    def test_no_call_starts_that_cannot_end_in_time(self, opened: Opened) -> None:
        sender = WebhookSender(ManualClock(now()), resolver=Names([PUBLIC]))
        with pytest.raises(NotSent, match="too soon") as caught:
            post(sender, a_hook(), left=timedelta(seconds=8))
        assert caught.value.reason == "no_time_left"
        assert opened.count == 0


@contextmanager
def raw_server(converse: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve one connection by hand; give its port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            accepted, _ = listening.accept()
            with accepted:
                if tls is None:
                    converse(accepted)
                else:
                    with tls.wrap_socket(accepted, server_side=True) as wrapped:
                        converse(wrapped)
        except OSError:
            return  # the caller has gone, or nobody came

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def hear(connection: socket.socket) -> None:
    """Read the whole request."""
    heard = b""
    while not heard.endswith(b"}}") and (piece := connection.recv(65536)):
        heard += piece


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def drip(at_once: bytes = b"") -> Callable[[socket.socket], None]:
    """Send this, and then byte after byte, each before anybody would give up waiting for it."""

    def converse(connection: socket.socket) -> None:
        hear(connection)
        connection.sendall(at_once)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            connection.sendall(b"x")
            time.sleep(CALL_SECONDS / 12)

    return converse


def cut(connection: socket.socket) -> None:
    hear(connection)


def continues(connection: socket.socket) -> None:
    hear(connection)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


class TestTime:
    @pytest.mark.parametrize(
        ("converse", "told"),
        [
            (silent, "receiver_timeout"),
            (drip(), "receiver_timeout"),
            (drip(b"HTTP/1.1 200 OK\r\nX: "), "receiver_timeout"),
            (continues, "receiver_timeout"),
            (drip(b"HTTP/1.1 200 OK\r\n\r\n"), "200"),  # it had answered
        ],
        ids=["silence", "a status line that drips", "headers that drip", "100 for ever", "a body that drips"],
    )
    def test_a_receiver_that_takes_its_time_is_cut_off(
        self, converse: Callable[[socket.socket], None], told: str
    ) -> None:
        sender = WebhookSender(ManualClock(now()), loopback=True, call_seconds=CALL_SECONDS)
        with raw_server(converse) as port:
            began = time.monotonic()
            assert ends(sender, a_hook(f"http://127.0.0.1:{port}/")) == told
            assert time.monotonic() - began < 2 * CALL_SECONDS

    def test_a_broken_connection_leaves_it_unknown(self, sender: WebhookSender) -> None:
        with raw_server(cut) as port:
            error = fails(sender, a_hook(f"http://127.0.0.1:{port}/"))
        assert (type(error), error.reason) == (Ambiguous, "connection_broken")

    def test_an_answer_that_is_no_http_leaves_it_unknown(self, sender: WebhookSender) -> None:
        def nonsense(connection: socket.socket) -> None:
            hear(connection)
            connection.sendall(b"220 mail.example ESMTP\r\n")

        with raw_server(nonsense) as port:
            error = fails(sender, a_hook(f"http://127.0.0.1:{port}/"))
        assert (type(error), error.reason) == (Ambiguous, "connection_broken")

    def test_a_name_server_that_is_silent_does_not_hold_a_call(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind(("127.0.0.1", 0))
            monkeypatch.setattr(webhook_sender, "RESOLVE_SECONDS", 0.5)
            port = mute.getsockname()[1]
            resolver = partial(bounded_resolver, nameservers=("127.0.0.1",), nameserver_port=port)
            began = time.monotonic()
            error = fails(WebhookSender(ManualClock(now()), resolver=resolver), a_hook())
            took = time.monotonic() - began
            assert mute.recv(512), "it was asked"
        assert (type(error), error.reason) == (NotSent, "name_not_resolved")
        assert 0.4 < took < 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return self-signed certificates, with their keys in the same file, by host."""
    made: dict[str, Path] = {}
    for host in ("localhost", "other.example"):
        path = tmp_path_factory.mktemp("tls") / f"{host}.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-nodes", "-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
        subprocess.run([*command, "-keyout", str(path), "-out", f"{path}.crt"], check=True, capture_output=True)
        path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
        made[host] = path
    return made


def answers(connection: socket.socket) -> None:
    hear(connection)
    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")


class TestTls:
    def by(self, certificate: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return context

    def trusting(self, *certificates: Path) -> WebhookSender:
        sender = WebhookSender(ManualClock(now()), loopback=True, call_seconds=5)
        context = ssl.create_default_context()
        for certificate in certificates:
            context.load_verify_locations(certificate)
        sender.tls = context
        return sender

    def test_a_certificate_of_the_host_holds(self, certificates: dict[str, Path]) -> None:
        with raw_server(answers, self.by(certificates["localhost"])) as port:
            answer = post(self.trusting(certificates["localhost"]), a_hook(f"https://localhost:{port}/"))
        assert answer.status == 202

    def test_a_certificate_of_another_host_is_refused(self, certificates: dict[str, Path]) -> None:
        with raw_server(answers, self.by(certificates["other.example"])) as port:
            sender = self.trusting(*certificates.values())
            error = fails(sender, a_hook(f"https://localhost:{port}/"))
        assert (type(error), error.reason) == (NotSent, "certificate_refused")

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, certificates: dict[str, Path]) -> None:
        with raw_server(answers, self.by(certificates["localhost"])) as port:
            error = fails(self.trusting(), a_hook(f"https://localhost:{port}/"))
        assert (type(error), error.reason) == (NotSent, "certificate_refused")

    def test_a_port_that_speaks_no_tls_is_refused(self) -> None:
        with raw_server(answers) as port:
            error = fails(self.trusting(), a_hook(f"https://localhost:{port}/"))
        assert (type(error), error.reason) == (NotSent, "tls_failed")

    def test_a_handshake_that_does_not_end_is_cut_off(self) -> None:
        sender = WebhookSender(ManualClock(now()), loopback=True, call_seconds=CALL_SECONDS)
        with raw_server(silent) as port:
            began = time.monotonic()
            error = fails(sender, a_hook(f"https://localhost:{port}/"))
        assert (type(error), error.reason) == (NotSent, "tls_failed")
        assert time.monotonic() - began < 2 * CALL_SECONDS
