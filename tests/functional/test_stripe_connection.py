"""What a call without an answer stands for: only what surely never left may be called NotSent."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.domain.errors import Ambiguous, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.providers import Intent, Money, PaymentOrder
from chalicelib.providers.stripe_account import SENTENCES
from chalicelib.providers.stripe_payments import StripePayments
from local.standins import StandIns
from tests.fakes import START, ManualClock, told

DEADLINE = START + timedelta(minutes=1)
Talk = Callable[[socket.socket], None]


def create(payments: StripePayments, key: str = "k") -> Intent:
    order = PaymentOrder(JobId(f"job_{key}"), Money(1250, "EUR"), "cus_1", "pm_card_visa", None, {})
    return payments.create(order, key=key, deadline=DEADLINE)


def error_at(url: str) -> ProviderError:
    payments = StripePayments(told("sk_test_1"), ManualClock(), api_base=url, call_seconds=1.0)
    with closing(payments), pytest.raises(ProviderError) as caught:
        create(payments)
    return caught.value


@contextmanager
def a_server(talk: Talk) -> Iterator[int]:
    """Serve one connection by `talk` and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join()


def answers(text: str) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text.encode())

    return talk


def hangs_up(connection: socket.socket) -> None:
    connection.recv(65536)


def resets(connection: socket.socket) -> None:
    connection.recv(65536)  # a reset before that may end the client's `connect`: then nothing has left it
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def whole(status: str, body: str) -> Talk:
    return answers(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}")


def test_port_where_nobody_listens_is_not_sent() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        error = error_at(f"http://127.0.0.1:{held.getsockname()[1]}")
    assert isinstance(error, NotSent)
    assert error.reason == "connection_failed"


def test_name_that_does_not_resolve_is_not_sent() -> None:
    assert isinstance(error_at("http://stripe.invalid"), NotSent)


def test_certificate_that_does_not_hold_is_not_sent(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))

    def talk(connection: socket.socket) -> None:
        with pytest.raises(ssl.SSLError), context.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.recv(1)

    with a_server(talk) as port:
        error = error_at(f"https://127.0.0.1:{port}")
    assert isinstance(error, NotSent)
    assert error.reason == "certificate_refused"


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(hangs_up, id="hangs up"),
        pytest.param(resets, id="resets"),
        pytest.param(answers("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"), id="breaks off"),
        pytest.param(answers("220 smtp.example.com ready\r\n"), id="is no HTTP"),
        pytest.param(whole("200 OK", "<html>captive portal</html>"), id="is no JSON"),
        pytest.param(whole("502 Bad Gateway", "<html>oops</html>"), id="a proxy's 502"),
        pytest.param(whole("418 I'm a teapot", '{"error": {"type": "tea"}}'), id="an unheard-of status"),
    ],
)
def test_broken_answer_is_ambiguous(talk: Talk) -> None:
    with a_server(talk) as port:
        error = error_at(f"http://127.0.0.1:{port}")
    assert isinstance(error, Ambiguous)
    assert not error.replayed


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("401 Unauthorized", "provider_not_authenticated"),
        ("403 Forbidden", "provider_not_permitted"),
        ("409 Conflict", "idempotency_key_in_use"),
        ("429 Too Many Requests", "provider_rate_limited"),
    ],
)
def test_request_that_was_not_taken_up_is_turned_away(status: str, reason: str) -> None:
    with a_server(whole(status, '{"error": {"message": "No such customer: cus_1"}}')) as port:
        error = error_at(f"http://127.0.0.1:{port}")
    assert isinstance(error, TurnedAway)
    assert (error.reason, error.message) == (reason, SENTENCES[reason])


def test_threads_of_a_batch_share_one_client(stand_ins: StandIns) -> None:
    payments = StripePayments(told("sk_test_1"), ManualClock(), api_base=stand_ins.url)
    keys = [f"k{number}" for number in range(60)]
    with closing(payments), ThreadPoolExecutor(10) as crew:
        intents = list(crew.map(lambda key: create(payments, key), keys))
    assert len({intent.id for intent in intents}) == 60
    assert sorted(row["idempotencyKey"] for row in stand_ins.effects()) == sorted(keys)


def test_no_netrc_takes_the_place_of_our_key(
    stand_ins: StandIns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    payments = StripePayments(told("sk_test_1"), ManualClock(), api_base=stand_ins.url)
    with closing(payments):
        assert create(payments).status == "succeeded"


def self_signed(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "server.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path
