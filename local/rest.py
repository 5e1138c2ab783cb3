"""A small JSON client for loopback: one kept-alive connection per thread."""

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 35.0  # seconds; above what API Gateway would wait


@dataclass(frozen=True)
class Answer:
    """A status and the JSON that came with it."""

    status: int
    body: Any


class Client:
    """Talks to one base URL. What is asked may be asked again: a broken connection is tried once more."""

    def __init__(self, base: str, bearer: str = "") -> None:
        self._host = urlsplit(base).netloc
        self._headers = {"Content-Type": "application/json"}
        if bearer:
            self._headers["Authorization"] = f"Bearer {bearer}"
        self._threads = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def get(self, path: str) -> Answer:
        """Read."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Send a body."""
        return self._ask("POST", path, json.dumps(body))

    def delete(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Delete."""
        return self._ask("DELETE", path, None if body is None else json.dumps(body))

    def close(self) -> None:
        """Close the connections of all threads, which must have ended."""
        for connection in self._open:
            connection.close()

    def _ask(self, method: str, path: str, body: str | None) -> Answer:
        try:
            return self._once(method, path, body)
        except (http.client.HTTPException, ConnectionError):
            self._connection().close()
            return self._once(method, path, body)

    def _once(self, method: str, path: str, body: str | None) -> Answer:
        connection = self._connection()
        connection.request(method, path, body=body, headers=self._headers)
        response = connection.getresponse()
        text = response.read()
        return Answer(response.status, json.loads(text) if text else None)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._threads, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT)
            self._threads.connection = connection
            self._open.append(connection)
        return connection
