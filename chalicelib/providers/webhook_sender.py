"""Webhooks over HTTPS, signed as Standard Webhooks has it, to addresses that a stranger has chosen.

A host is resolved once, every one of its addresses judged, and the connection made to one that was judged, so
that no later answer of its name servers counts. The certificate is held to the host's name. Redirects are not
followed. Each delivery has a connection of its own, which one clock bounds from the first byte to the last: a
receiver that lets its answer drip gains nothing by it.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chalicelib.domain.endpoint import LOOPBACK_HOSTS, is_hook_url
from chalicelib.domain.errors import Ambiguous, Declined, NotSent
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Hook, HookAnswer
from chalicelib.providers.cut_off import cut_off
from chalicelib.providers.http_calls import CALL_SECONDS, CALL_TIME, CONNECT_SECONDS, MOST_BYTES, Reply

if TYPE_CHECKING:
    from datetime import datetime

    import ssrfguard

RESOLVE_SECONDS = 3.0  # the lookup, all its questions together
ATTEMPTS = 2  # to connect, each to another address
REFERENCE = re.compile(r"[!-~]{1,100}")
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # headers and body leave in two pieces
LOOPBACK = ("127.0.0.0/8", "::1/128")
FAMILIES = (socket.AF_INET, socket.AF_INET6)  # a Lambda function has no way to the latter, so it comes last

Resolver = Callable[..., Any]  # as socket.getaddrinfo, within so many seconds: see `bounded_resolver`


class WebhookSender:
    """Implements `providers.Hooks`, for any number of threads.

    `loopback` allows http and this machine's own addresses, for URLs that name it. `resolver` makes what stands
    in socket.getaddrinfo's place, bounded by the seconds that it is given.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        loopback: bool = False,
        resolver: Callable[[float], Resolver] | None = None,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._clock = clock
        self._loopback = loopback
        self._resolver = resolver or bounded_resolver
        self._call_seconds = call_seconds

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What certificates are held to; made once, since it reads every root there is."""
        return ssl.create_default_context()

    def post(self, hook: Hook, *, deadline: "datetime") -> HookAnswer:
        """Sign and post, and return the answer whatever its status."""
        if not is_hook_url(hook.url, loopback=self._loopback):
            raise Declined("url_refused", "Events may not be posted to this URL.")
        # Check and start are one step, so that no call starts that cannot end in time.
        if self._clock.now() + CALL_TIME > deadline:
            raise NotSent("no_time_left", "The invocation ends too soon for a webhook.")
        began = time.monotonic()
        end = began + self._call_seconds
        headers = _signed(hook, self._clock.now())
        with self._connected(hook.url, end) as connection:
            reply = _exchange(connection, hook, headers, end)
        reference = reply.headers.get("X-Request-Id", "")
        return HookAnswer(
            status=reply.status,
            took=timedelta(milliseconds=round((time.monotonic() - began) * 1000)),
            after=reply.retry_after(self._clock.now()),
            reference=reference if REFERENCE.fullmatch(reference) else None,
        )

    @contextmanager
    def _connected(self, url: str, end: float) -> Iterator[http.client.HTTPConnection]:
        """Connect to an address that was judged, and cut the connection when the time is over."""
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        raw = self._pinned(url, end)
        connection = http.client.HTTPConnection(host, parts.port)
        with cut_off(end) as cut:
            try:
                cut.hold(raw)
                connection.sock = raw
                if secure:
                    connection.sock = self._wrapped(raw, host, end)
                yield connection
            finally:
                connection.close()
                raw.close()

    def _pinned(self, url: str, end: float) -> socket.socket:
        """Resolve a host once, judge every address of it, and connect to one of those."""
        import ssrfguard

        policy = self._policy(url)
        try:
            target = policy.check_url(url)
            resolver = self._resolver(min(RESOLVE_SECONDS, max(end - time.monotonic(), 0.01)))
            addresses = ssrfguard.resolve(target, policy=policy, resolver=resolver)
        except ssrfguard.SSRFGuardError as error:
            raise Declined("address_refused", "The URL's host is not a public one.") from error
        except (OSError, UnicodeError) as error:
            raise NotSent("name_not_resolved", "The URL's host could not be resolved.") from error
        try:
            timeout = _left(end, CONNECT_SECONDS)
            return ssrfguard.connect(addresses, policy=policy, timeout=timeout, socket_options=[NO_DELAY])
        except ssrfguard.SSRFGuardError as error:
            raise Declined("address_refused", "The connection came out at another address.") from error
        except OSError as error:
            raise NotSent("connection_failed", "The receiver could not be reached.") from error

    def _policy(self, url: str) -> "ssrfguard.Policy":
        """Return what a URL that may be posted to is held to when its host is known."""
        import ssrfguard

        parts = urlsplit(url)
        own = self._loopback and parts.hostname in LOOPBACK_HOSTS
        return ssrfguard.Policy(
            allowed_schemes=frozenset({parts.scheme}),
            allowed_ports=frozenset({parts.port or (443 if parts.scheme == "https" else 80)}),
            allowed_networks=LOOPBACK if own else (),  # type: ignore[arg-type] # text is taken, too
            max_connection_attempts=ATTEMPTS,
        )

    def _wrapped(self, raw: socket.socket, host: str, end: float) -> ssl.SSLSocket:
        raw.settimeout(_left(end, self._call_seconds))
        try:
            return self.tls.wrap_socket(raw, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise NotSent("certificate_refused", "The receiver's certificate does not hold.") from error
        except (OSError, ValueError) as error:
            raise NotSent("tls_failed", "The receiver speaks no TLS that we do.") from error


def bounded_resolver(seconds: float, **servers: Any) -> Resolver:
    """Return a resolver that ends within so many seconds, which the platform's own does not.

    `servers` are UdpResolver's; without them /etc/resolv.conf names them.
    """
    from ssrfguard.resolvers import UdpResolver

    resolver = UdpResolver(timeout=seconds, attempt_timeout=min(1.0, seconds), families=FAMILIES, **servers)

    def resolve(host: str, *rest: Any) -> Any:
        # The name servers know nothing of this machine's own name.
        return socket.getaddrinfo(host, *rest) if host in LOOPBACK_HOSTS else resolver(host, *rest)

    return resolve


def _signed(hook: Hook, now: "datetime") -> Mapping[str, str]:
    """Return the headers, with a signature for each secret."""
    from standardwebhooks import Webhook

    body = hook.body.decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "queue-service",
        "Connection": "close",
        "webhook-id": hook.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(hook.id, now, body) for secret in hook.secrets),
    }


def _exchange(
    connection: http.client.HTTPConnection, hook: Hook, headers: Mapping[str, str], end: float
) -> Reply:
    """Send the request and read the answer, up to its bound."""
    parts = urlsplit(hook.url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        connection.sock.settimeout(_left(end, CALL_SECONDS))
        connection.request("POST", path, body=hook.body, headers={"Host": parts.netloc, **headers})
        with connection.getresponse() as response:
            if time.monotonic() >= end:
                raise TimeoutError  # headers that were cut off read as if they had ended
            answered = {name.title(): text for name, text in response.headers.items()}
            return Reply(response.status, answered, response.read(MOST_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() >= end or isinstance(error, TimeoutError):
            raise Ambiguous("receiver_timeout", "The receiver did not answer in time.") from error
        raise Ambiguous("connection_broken", "The connection broke before the receiver answered.") from error


def _left(end: float, most: float) -> float:
    """Return the seconds that are left, some at least and `most` at most."""
    return min(max(end - time.monotonic(), 0.01), most)
