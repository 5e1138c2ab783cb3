import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from chalice.app import Chalice

from local.server import Api

KEPT_ALIVE_REQUESTS = 50


def toy_app() -> Chalice:
    app = Chalice(app_name="toy")

    @app.route("/echo", methods=["POST"], content_types=["text/plain"])
    def echo() -> dict[str, str]:
        request = app.current_request
        assert request is not None
        body = request.raw_body
        return {"body": body if isinstance(body, str) else body.decode()}

    @app.route("/slow")
    def slow() -> dict[str, str]:
        time.sleep(0.5)
        return {"answered": "in the end"}

    return app


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api("127.0.0.1", 0)
    api.start(toy_app())
    yield api
    api.stop()


def exchange(api: Api, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", api.port), timeout=5) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.read()


def post(*headers: str, body: bytes = b"") -> bytes:
    lines = ["POST /echo HTTP/1.1", "Host: here", "Content-Type: text/plain", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("path", ["/nope", "/echo/more", "/", "/nope?x=1"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_without_a_route_is_not_found_and_tells_nothing_of_the_token(
    api: Api, method: str, path: str
) -> None:
    request = f"{method} {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer s\xe9cret\r\n\r\n"
    status, answer = exchange(api, request.encode("latin-1"))
    assert (status, json.loads(answer)["error"]) == (404, "not_found")
    assert b"cret" not in answer


def test_a_chunked_body_arrives_whole(api: Api) -> None:
    body = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nTrailer: t\r\n\r\n"
    status, answer = exchange(api, post("Transfer-Encoding: chunked", body=body))
    assert (status, json.loads(answer)) == (200, {"body": "hello, world"})


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post("Content-Length: many"), 400),
        (post("Content-Length: -1"), 400),
        (post("Content-Length: 99999999999"), 413),
        (post("Transfer-Encoding: chunked", body=b"zz\r\n"), 400),
        (post("Transfer-Encoding: chunked", body=b"-5\r\nhello\r\n"), 400),
        (post("Transfer-Encoding: chunked", body=b"fffffffff\r\n"), 413),
    ],
)
def test_a_body_that_cannot_be_read_is_answered(api: Api, request_bytes: bytes, status: int) -> None:
    got, answer = exchange(api, request_bytes)
    assert got == status
    assert set(json.loads(answer)) == {"error", "message"}


def test_a_kept_connection_does_not_wait_for_nagle(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=5)
    began = time.monotonic()
    for _ in range(KEPT_ALIVE_REQUESTS):
        connection.request("POST", "/echo", body="x", headers={"Content-Type": "text/plain"})
        assert connection.getresponse().read() == b'{"body":"x"}'
    connection.close()
    assert (time.monotonic() - began) / KEPT_ALIVE_REQUESTS < 0.030  # 0.044 s each with Nagle's algorithm


def test_requests_before_the_start_wait_for_it() -> None:
    api = Api("127.0.0.1", 0)
    try:
        starting = threading.Timer(0.2, api.start, (toy_app(),))
        starting.start()
        assert exchange(api, post("Content-Length: 1", body=b"x"))[0] == 200
        starting.join()
    finally:
        api.stop()


def test_a_stop_answers_what_is_in_hand() -> None:
    api = Api("127.0.0.1", 0)
    api.start(toy_app())
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(exchange(api, b"GET /slow HTTP/1.1\r\nHost: here\r\n\r\n")[0])
    )
    asking.start()
    time.sleep(0.2)
    api.stop()
    asking.join()
    assert answers == [200]


def test_a_port_in_use_is_refused_before_anything_starts(api: Api) -> None:
    with pytest.raises(OSError, match="in use"):
        Api("127.0.0.1", api.port)
