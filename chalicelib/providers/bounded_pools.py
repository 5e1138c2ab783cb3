"""urllib3's pools, with connections that end with the call that uses them (`providers/cut_off`)."""

import socket
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from chalicelib.providers.cut_off import holding


class BoundedConnection(HTTPConnection):
    """A connection that is held from when it comes about, and again by each call that uses it anew."""

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        _hold(made)
        return made

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request."""
        if self.sock is not None:
            _hold(self.sock)
        super().request(*arguments, **options)


class BoundedTlsConnection(BoundedConnection, HTTPSConnection):
    """The same over TLS, its handshake included."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = BoundedConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = BoundedTlsConnection


def bound(manager: PoolManager) -> None:
    """Have a manager that has made no connection yet make such ones."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


def _hold(connection: socket.socket) -> None:
    cut = holding()
    if cut is not None:
        cut.hold(connection)
