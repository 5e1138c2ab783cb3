"""STAND-IN, never deployed: what SES publishes of mails to its mailbox simulator, signed as SNS signs it.

The certificate is its own, so nobody takes these bulletins who has not been told to (SNS_BASE). As with SNS the
subscription is to be confirmed first; what is published before is lost.
"""

import base64
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from local.standins.outbox import Outbox, post
from local.standins.wire import Answer

CERTIFICATE_PATH = "/SimpleNotificationService-standin.pem"
SIMULATOR = "@simulator.amazonses.com"
TRIES = 5
CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
SIGNED: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": CONFIRMATION,
    "UnsubscribeConfirmation": CONFIRMATION,
}
HASHES: Mapping[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - SNS's first


class MailEvents:
    """Posts bulletins to a URL; `base` is where this stand-in itself is reached."""

    def __init__(self, url: str, topic: str, base: Callable[[], str], now: Callable[[], datetime]) -> None:
        self._url = url
        self._topic = topic
        self._base = base
        self._now = now
        self._token = secrets.token_hex(16)
        self._is_confirmed = threading.Event()
        self._outbox = Outbox(TRIES)

    def mailed(self, sent: bytes, answer: Answer) -> None:
        """Publish what becomes of a mail that SES has taken, if it is to the simulator."""
        asked = json.loads(sent)
        for to in asked.get("Destination", {}).get("ToAddresses", []):
            event = event_of(to, asked, answer, self._now())
            if event is not None:
                self._publish(json.dumps(event))

    def confirmed(self, query: str) -> None:
        """Take the confirmation of the subscription, if it has the token."""
        if parse_qs(query).get("Token") == [self._token]:
            self._is_confirmed.set()

    def stop(self) -> None:
        """Publish no more."""
        self._outbox.stop()

    @property
    def certificate(self) -> bytes:
        """The certificate of what bulletins are signed with."""
        return self._identity[1]

    def bulletin(self, kind: str, message: str, *, version: str = "2", **changes: str) -> dict[str, str]:
        """Return a bulletin as SNS would send it; `changes` are signed, too."""
        made = {
            "Type": kind,
            "MessageId": secrets.token_hex(16),
            "TopicArn": self._topic,
            "Message": message,
            "Timestamp": self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "SignatureVersion": version,
            "SigningCertURL": f"{self._base()}{CERTIFICATE_PATH}",
        }
        if kind != "Notification":
            asked = {"Action": "ConfirmSubscription", "TopicArn": self._topic, "Token": self._token}
            made |= {"Token": self._token, "SubscribeURL": f"{self._base()}/?{urlencode(asked)}"}
        return self.signed(made | changes)

    def signed(self, bulletin: Mapping[str, str]) -> dict[str, str]:
        """Return a bulletin with its signature."""
        names = [name for name in SIGNED[bulletin["Type"]] if name in bulletin]
        told = "".join(f"{name}\n{bulletin[name]}\n" for name in names).encode()
        key, _ = self._identity
        signature = key.sign(told, padding.PKCS1v15(), HASHES[bulletin["SignatureVersion"]])
        return {**bulletin, "Signature": base64.b64encode(signature).decode()}

    def _publish(self, message: str) -> None:
        def tell() -> int | None:
            if not self._is_confirmed.is_set():
                self._post(self.bulletin("SubscriptionConfirmation", "You have chosen to subscribe."))
            if not self._is_confirmed.is_set():
                return None
            return self._post(self.bulletin("Notification", message, Subject="Amazon SES Email Event"))

        self._outbox.put(tell)

    def _post(self, bulletin: Mapping[str, Any]) -> int | None:
        headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": bulletin["Type"]}
        return post(self._url, json.dumps(bulletin).encode(), headers)

    @cached_property
    def _identity(self) -> tuple[rsa.RSAPrivateKey, bytes]:
        """The key, and its certificate as PEM; made when first asked for, since that takes a while."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in of sns.amazonaws.com")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now() - timedelta(days=1))
            .not_valid_after(self._now() + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        return key, made.public_bytes(serialization.Encoding.PEM)


def event_of(to: str, asked: Mapping[str, Any], answer: Answer, now: datetime) -> dict[str, Any] | None:
    """Return the event that SES publishes of a mail to one of the simulator's addresses."""
    local, at, _ = to.lower().partition(SIMULATOR)
    kind, detail = _kind(local.partition("+")[0], to) if at else (None, {})
    if kind is None:
        return None
    raw = asked.get("Content", {}).get("Raw", {}).get("Data")
    headers = message_from_bytes(base64.b64decode(raw)).items() if raw else []
    body = json.loads(answer.rendered() or b"{}")
    return {
        "eventType": kind,
        "mail": {
            "timestamp": now.isoformat(timespec="milliseconds"),
            "source": asked.get("FromEmailAddress"),
            "messageId": body.get("MessageId"),
            "destination": [to],
            "headersTruncated": False,
            "headers": [{"name": name, "value": str(value)} for name, value in headers],
        },
        **detail,
    }


def _kind(local: str, to: str) -> tuple[str | None, dict[str, Any]]:
    whom = [{"emailAddress": to}]
    match local:
        case "bounce":
            told = {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": whom}
            return "Bounce", {"bounce": told}
        case "ooto":
            told = {"bounceType": "Transient", "bounceSubType": "General", "bouncedRecipients": whom}
            return "Bounce", {"bounce": told}
        case "complaint":
            return "Complaint", {"complaint": {"complaintFeedbackType": "abuse", "complainedRecipients": whom}}
        case "success":
            return "Delivery", {"delivery": {"recipients": [to]}}
    return None, {}
