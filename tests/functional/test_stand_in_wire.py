import socket
from urllib.parse import urlencode, urlsplit

from local.standins import StandIns

CHARGE = {
    "amount": "45",
    "currency": "eur",
    "confirm": "true",
    "payment_method": "pm_card_visa",
    "automatic_payment_methods[enabled]": "true",
    "automatic_payment_methods[allow_redirects]": "never",
}


def create(stand_ins: StandIns, body: str, *, missing: int) -> bytes:
    """Send a charge of which so many bytes never come, and return what is answered."""
    head = (
        "POST /v1/payment_intents HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer sk_test_local\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nIdempotency-Key: k\r\nConnection: close\r\n"
    )
    address = urlsplit(stand_ins.url)
    with socket.create_connection((address.hostname, address.port or 0), timeout=5) as connection:
        connection.sendall(f"{head}Content-Length: {len(body) + missing}\r\n\r\n{body}".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        return answer


def test_a_caller_killed_in_mid_sentence_has_asked_for_nothing() -> None:
    with StandIns() as stand_ins:
        assert create(stand_ins, urlencode(CHARGE), missing=1) == b""
        assert stand_ins.effects() == []
        assert create(stand_ins, urlencode(CHARGE), missing=0).startswith(b"HTTP/1.1 200")
        assert [effect["amount"] for effect in stand_ins.effects()] == [45]
