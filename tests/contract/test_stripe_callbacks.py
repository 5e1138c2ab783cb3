"""Our check of Stripe's signatures against the SDK's own signer and verifier: they agree about every header."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.http.callbacks_stripe import TOLERANCE_SECONDS, is_signed

SECRET = "whsec_of_the_tests"
NOW = datetime.now(UTC)
BODY = json.dumps({"id": "evt_1", "type": "payment_intent.succeeded", "name": "Zoë"}, ensure_ascii=False)


def signed(body: str, secret: str = SECRET, ago: float = 0) -> str:
    """Return the header that the SDK's own signer makes."""
    at = int(NOW.timestamp() - ago)
    made = stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    return f"t={at},v1={made}"


@pytest.fixture(scope="module", autouse=True)
def sdk_s_clock() -> Iterator[None]:
    """Let the SDK's clock stand at NOW: a whole run takes longer than a signature holds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stripe._webhook, "time", SimpleNamespace(time=NOW.timestamp))
        yield


def theirs(body: str, header: str) -> bool:
    """Say what the SDK makes of a header."""
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, SECRET, TOLERANCE_SECONDS))
    except (stripe.SignatureVerificationError, ValueError):
        return False


HEADERS = {
    "good": (signed(BODY), True),
    "good, and an unknown scheme": (f"{signed(BODY)},v0=abc", True),
    "the second of two": (f"{signed(BODY, 'whsec_other')},{signed(BODY).split(',')[1]}", True),
    "nearly too old": (signed(BODY, ago=TOLERANCE_SECONDS - 60), True),
    "too old": (signed(BODY, ago=TOLERANCE_SECONDS + 60), False),
    "another secret": (signed(BODY, "whsec_other"), False),
    "another body": (signed(BODY + " "), False),
    "another scheme": (signed(BODY).replace("v1=", "v0="), False),
    "no moment": (signed(BODY).split(",")[1], False),
    "no signature": (signed(BODY).split(",")[0], False),
    "nothing": ("", False),
    "commas": (",,,", False),
    "a name without a value": (f"{signed(BODY)},v1", False),
    "upper case": (signed(BODY).replace("v1", "V1"), False),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_holds_here_where_it_holds_for_the_sdk(name: str) -> None:
    header, holds = HEADERS[name]
    assert is_signed(BODY.encode(), header, SECRET, now=NOW) is holds
    assert theirs(BODY, header) is holds


@settings(max_examples=2_000)
@given(
    body=st.text(max_size=40),
    secret=st.sampled_from([SECRET, "whsec_other"]),
    extra=st.lists(st.text(alphabet="tv01=,x ", max_size=6), max_size=3),
    ago=st.sampled_from([0, 10, 200, 400, 100_000]),
)
def test_both_agree_about_any_header(body: str, secret: str, extra: list[str], ago: int) -> None:
    header = ",".join([signed(body, secret, ago), *extra])
    assert is_signed(body.encode(), header, SECRET, now=NOW) is theirs(body, header)


def test_what_is_signed_a_little_ahead_of_our_clock_holds() -> None:
    header = signed(BODY, ago=-30)
    assert is_signed(BODY.encode(), header, SECRET, now=NOW - timedelta(seconds=1))
    assert theirs(BODY, header)
