"""Bulletins of an SNS topic: their signatures, versions 1 and 2, and confirming the subscription.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html. Certificates are read over HTTPS
from SNS in the topic's own region and nowhere else, whatever a bulletin says; what they certify is kept. The
library for signatures is loaded with the first bulletin that comes as far as that.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections import deque
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from chalicelib.domain.errors import NotSigned, ProviderError, StoreRefused
from chalicelib.domain.ports import Clock
from chalicelib.domain.topic import Kind
from chalicelib.providers.http_calls import CALL_TIME, Line, Reply

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_ABOUT_SUBSCRIPTIONS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
# What is signed, in order, by kind; Subject is left out where there is none.
SIGNED: Mapping[Kind, tuple[str, ...]] = {
    Kind.NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    Kind.SUBSCRIBED: _ABOUT_SUBSCRIPTIONS,
    Kind.UNSUBSCRIBED: _ABOUT_SUBSCRIPTIONS,
}
HASHES: Mapping[str, str] = {"1": "SHA1", "2": "SHA256"}  # by SignatureVersion
CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")
RECENT = timedelta(days=1)  # SNS tries for an hour; an older bulletin was overheard and sent again
CALL_SECONDS = 3.0
MOST_READ, READ_WITHIN = (
    10,
    timedelta(minutes=1),
)  # certificates that strangers may have us read
MOST_KEPT = 4  # certificates; SNS has one at a time


class SnsTopic:
    """Implements `bulletin.Topic`; `base` is SNS itself, unless another host stands in for it."""

    def __init__(self, arn: str, clock: Clock, *, base: str | None = None) -> None:
        self._arn = arn
        self._clock = clock
        self._base = base or _sns_of(arn)
        self._lock = Lock()
        self._read_at: deque[datetime] = deque(maxlen=MOST_READ)
        self._keys: dict[str, RSAPublicKey] = {}

    @cached_property
    def _line(self) -> Line:
        return Line("SNS", self._clock, call_seconds=CALL_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def check(self, bulletin: Mapping[str, Any]) -> Kind:
        """Return what a bulletin is, once it is known to be of this topic, recent and rightly signed."""
        kind = next((each for each in Kind if each == bulletin.get("Type")), None)
        if kind is None or bulletin.get("TopicArn") != self._arn:
            raise NotSigned
        told = _signed_text(bulletin, kind)
        version, signature = _text(bulletin, "SignatureVersion"), _text(bulletin, "Signature")
        if version not in HASHES or not self._is_recent(bulletin["Timestamp"]):
            raise NotSigned
        self._verify(told, signature, HASHES[version], self._key(_text(bulletin, "SigningCertURL")))
        return kind

    def confirm(self, bulletin: Mapping[str, Any]) -> None:
        """Confirm a subscription, at SNS and nowhere else."""
        url = _text(bulletin, "SubscribeURL")
        base, _, query = url.partition("/?")
        asked = parse_qs(query)
        if base != self._base or (asked.get("Action"), asked.get("TopicArn")) != (
            ["ConfirmSubscription"],
            [self._arn],
        ):
            raise NotSigned
        if not self._get(url).ok:
            raise StoreRefused("SNS did not take the confirmation. Send the bulletin again.")

    def _is_recent(self, text: str) -> bool:
        try:
            at = datetime.fromisoformat(text)
            return abs(self._clock.now() - at) <= RECENT
        except (ValueError, TypeError, OverflowError):  # no moment, or one without an offset
            return False

    def _verify(self, told: bytes, signature: str, hash_name: str, key: "RSAPublicKey") -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        try:
            key.verify(b64decode(signature, validate=True), told, PKCS1v15(), getattr(hashes, hash_name)())
        except (InvalidSignature, NotBase64, ValueError):
            raise NotSigned from None

    def _key(self, url: str) -> "RSAPublicKey":
        """Return the key that a certificate of SNS's certifies."""
        if not (url.startswith(self._base) and CERTIFICATE.fullmatch(url.removeprefix(self._base))):
            raise NotSigned
        with self._lock:
            if url in self._keys:
                return self._keys[url]
        key = self._read_key(url)
        with self._lock:
            if len(self._keys) >= MOST_KEPT:
                self._keys.pop(next(iter(self._keys)))
            self._keys[url] = key
        return key

    def _read_key(self, url: str) -> "RSAPublicKey":
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
        from cryptography.x509 import load_pem_x509_certificate

        if not self._may_read():
            raise StoreRefused("Too many certificates were asked for. Send the bulletin again.")
        answer = self._get(url)
        if 400 <= answer.status < 500:
            raise NotSigned  # SNS has no such certificate
        try:
            certificate = load_pem_x509_certificate(answer.content)
            key, now = certificate.public_key(), self._clock.now()
            holds = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        except ValueError as error:
            raise StoreRefused("SNS did not give the certificate. Send the bulletin again.") from error
        if not holds or not isinstance(key, RSAPublicKey):
            raise NotSigned
        return key

    def _may_read(self) -> bool:
        now = self._clock.now()
        with self._lock:
            if len(self._read_at) == MOST_READ and now - self._read_at[0] < READ_WITHIN:
                return False
            self._read_at.append(now)
            return True

    def _get(self, url: str) -> Reply:
        try:
            return self._line.get(url, deadline=self._clock.now() + CALL_TIME)
        except ProviderError as error:
            raise StoreRefused("SNS does not answer. Send the bulletin again.") from error


def _sns_of(arn: str) -> str:
    """Return where SNS is in the region of a topic."""
    _, partition, _, region, _ = arn.split(":", 4)
    return f"https://sns.{region}.amazonaws.com{'.cn' if partition == 'aws-cn' else ''}"


def _signed_text(bulletin: Mapping[str, Any], kind: Kind) -> bytes:
    names = [name for name in SIGNED[kind] if name != "Subject" or bulletin.get("Subject") is not None]
    return "".join(f"{name}\n{_text(bulletin, name)}\n" for name in names).encode()


def _text(bulletin: Mapping[str, Any], name: str) -> str:
    value = bulletin.get(name)
    if not isinstance(value, str):
        raise NotSigned
    return value
