import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from chalicelib.domain.errors import StoreRefused, Unauthenticated
from chalicelib.domain.policies import Role
from chalicelib.http.auth import authenticate
from chalicelib.service.keyring import KeyRing
from chalicelib.service.principal import Principal
from chalicelib.settings import TokenSettings
from tests.fakes import START, ListJournal, ManualClock
from tests.front import AUDIENCE, ISSUER, SECRET, claims, sign

NOW = int(START.timestamp())
OTHER_SECRET = "a key of somebody else, 32 bytes and more"
TOKENS = TokenSettings(issuer=ISSUER, audience=AUDIENCE, secret=SECRET, secrets_arn=None)
KEYS = {"current": SECRET, "previous": "the key before, also 32 bytes and more"}


def ring(keys: Mapping[str, str] = KEYS) -> KeyRing:
    return KeyRing(lambda: keys, clock=ManualClock(), journal=ListJournal())


def principal_of(header: str | None, keys: Mapping[str, str] = KEYS) -> Principal:
    return authenticate(header, keys=ring(keys), tokens=TOKENS, now=START)


def good(**changes: Any) -> dict[str, Any]:
    """Return claims that hold, with changes; ... takes a claim away."""
    return {name: value for name, value in {**claims(START), **changes}.items() if value is not ...}


def b64(value: bytes | str | object) -> str:
    raw = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else None
    raw = json.dumps(value).encode() if raw is None else raw
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def hand_made(header: object, payload: object, *, secret: str = SECRET, signature: str | None = None) -> str:
    """Return a token of any header and payload, correctly signed unless a signature is given."""
    signing = f"{b64(header)}.{b64(payload)}"
    digest = hmac.new(secret.encode(), signing.encode(), hashlib.sha256).digest()
    return f"{signing}.{b64(digest) if signature is None else signature}"


HS256 = {"alg": "HS256", "typ": "JWT"}
GOOD = sign(good())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HEAD, BODY, TAIL = GOOD.split(".")


def other_last_character(text: str) -> str:
    """Return base64url text whose unused last bits differ: it decodes to the same bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


HOSTILE_TOKENS: dict[str, str] = {
    # the algorithm
    "alg none": hand_made({"alg": "none", "typ": "JWT"}, good(), signature=""),
    "alg none, signed as if it were not": hand_made({"alg": "none"}, good()),
    "alg None in capitals": hand_made({"alg": "NONE"}, good(), signature=""),
    "alg missing": hand_made({"typ": "JWT"}, good()),
    "alg not a string": hand_made({"alg": ["HS256"]}, good()),
    "alg in small letters": hand_made({"alg": "hs256"}, good()),
    "alg HS384": jwt.encode(good(), SECRET, algorithm="HS384"),
    "alg HS512": jwt.encode(good(), SECRET, algorithm="HS512"),
    "alg RS256": jwt.encode(good(), RSA, algorithm="RS256"),
    "alg RS256 over an HMAC of our key": hand_made({"alg": "RS256"}, good()),
    "alg twice": hand_made('{"alg":"none","alg":"HS256"}', good()),
    # the header
    "header with crit": hand_made({**HS256, "crit": ["exp"]}, good()),
    "header with b64 false": hand_made({**HS256, "b64": False, "crit": ["b64"]}, good()),
    "header of another type": hand_made({**HS256, "typ": "JWE"}, good()),
    "header that is a list": hand_made(["HS256"], good()),
    "header that is no JSON": hand_made("alg=HS256", good()),
    "header nested deeply": hand_made('{"alg":"HS256","x":' + "[" * 900 + "]" * 900 + "}", good()),
    "header with the attacker's key": hand_made(
        {**HS256, "jwk": {"kty": "oct", "k": b64(OTHER_SECRET)}}, good(), secret=OTHER_SECRET
    ),
    "kid unknown": sign(good(), kid="gone"),
    "kid empty": sign(good(), kid=""),
    "kid of another key than it is signed with": sign(good(), kid="previous"),
    "kid that is a path": sign(good(), kid="../../dev/null"),
    "kid not a string": hand_made({**HS256, "kid": 1}, good()),
    "kid a list": hand_made({**HS256, "kid": ["current"]}, good()),
    # the signature
    "signed by somebody else": sign(good(), OTHER_SECRET),
    "signed with an empty key": hand_made(HS256, good(), secret=""),
    "signature missing": f"{HEAD}.{BODY}.",
    "signature cut": GOOD[:-2],
    "signature of another token": f"{HEAD}.{BODY}.{sign(good(sub='x')).split('.')[2]}",
    "signature with other unused bits": f"{HEAD}.{BODY}.{other_last_character(TAIL)}",
    "payload changed": f"{HEAD}.{b64(good(role='admin'))}.{TAIL}",
    # the claims
    "iss wrong": sign(good(iss="somebody")),
    "iss missing": sign(good(iss=...)),
    "iss a list": hand_made(HS256, good(iss=[ISSUER])),
    "iss in capitals": sign(good(iss=ISSUER.upper())),
    "aud wrong": sign(good(aud="another-platform")),
    "aud missing": sign(good(aud=...)),
    "aud a list": sign(good(aud=[AUDIENCE])),
    "aud a list of ours and another": sign(good(aud=[AUDIENCE, "another-platform"])),
    "aud a prefix": sign(good(aud=AUDIENCE[:-1])),
    "sub missing": sign(good(sub=...)),
    "sub empty": sign(good(sub="")),
    "sub a number": hand_made(HS256, good(sub=1)),
    "sub null": hand_made(HS256, good(sub=None)),
    "sub with a line break": sign(good(sub="user\nadmin")),
    "sub with a space": sign(good(sub=" user-1")),
    "sub endless": sign(good(sub="x" * 256)),
    "role missing": sign(good(role=...)),
    "role unknown": sign(good(role="root")),
    "role in capitals": sign(good(role="ADMIN")),
    "role a list": sign(good(role=["admin"])),
    "role null": sign(good(role=None)),
    "role an object": sign(good(role={"admin": True})),
    "role twice": hand_made(HS256, json.dumps(good())[:-1] + ', "role": "admin"}'),
    "venueId null": sign(good(venueId=None)),
    "venueId empty": sign(good(venueId="")),
    "venueId a number": sign(good(venueId=1)),
    "venueId a list": sign(good(venueId=["venue-1", "venue-2"])),
    "venueId with a space": sign(good(venueId="venue 1")),
    "exp missing": sign(good(exp=...)),
    "exp a string": hand_made(HS256, good(exp=str(NOW + 60))),
    "exp true": hand_made(HS256, good(exp=True)),
    "exp null": hand_made(HS256, good(exp=None)),
    "exp a fraction": hand_made(HS256, good(exp=NOW + 60.5)),
    "exp without end": hand_made(HS256, json.dumps(good(exp=...))[:-1] + ', "exp": 1e999}'),
    "exp not a number": hand_made(HS256, json.dumps(good(exp=...))[:-1] + ', "exp": NaN}'),
    "exp twice": hand_made(HS256, json.dumps(good(exp=NOW - 1))[:-1] + f', "exp": {NOW + 60}}}'),
    "exp past": sign(good(iat=NOW - 60, exp=NOW - 1)),
    "exp this very moment": sign(good(iat=NOW - 60, exp=NOW)),
    "exp before iat": sign(good(iat=NOW + 4, exp=NOW + 3)),
    "life above a day": sign(good(iat=NOW, exp=NOW + 24 * 3600 + 1)),
    "life above a day, half of it gone": sign(good(iat=NOW - 20 * 3600, exp=NOW + 5 * 3600)),
    "iat missing": sign(good(iat=...)),
    "iat a string": hand_made(HS256, good(iat=str(NOW))),
    "iat negative": sign(good(iat=-1)),
    "iat zero": sign(good(iat=0)),
    "iat in the future": sign(good(iat=NOW + 60, exp=NOW + 120)),
    "nbf in the future": sign(good(nbf=NOW + 60)),
    "nbf a string": hand_made(HS256, good(nbf=str(NOW))),
    "nbf null": hand_made(HS256, good(nbf=None)),
    # the token as a whole
    "payload that is a list": hand_made(HS256, [good()]),
    "payload that is a string": hand_made(HS256, '"admin"'),
    "payload that is no JSON": hand_made(HS256, "sub=admin"),
    "payload that is not UTF-8": hand_made(HS256, b"\xff\xfe"),
    "payload nested deeply": hand_made(HS256, json.dumps(good())[:-1] + ',"x":' + "[" * 900 + "]" * 900 + "}"),
    "payload with half a surrogate": hand_made(HS256, json.dumps(good())[:-1] + ',"x":"\\ud800"}'),
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.{TAIL}",
    "five parts, as a JWE": "a.b.c.d.e",
    "no parts": "admin",
    "empty parts": "..",
    "padded": f"{HEAD}.{BODY}.{TAIL}=",
    "standard base64": f"{HEAD}.{BODY}.{'+/' * 21}A",
    "a null byte at its end": GOOD + "\x00",
    "rubbish that a lax decoder skips": f"{HEAD}.{BODY}.{TAIL[:10]}!{TAIL[10:]}",
    "endless": sign(good(x="x" * 4096)),
    "a JSON serialisation": json.dumps({"protected": HEAD, "payload": BODY, "signature": TAIL}),
}
HOSTILE_HEADERS: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "no scheme": GOOD,
    "another scheme": f"Basic {GOOD}",
    "a scheme and no token": "Bearer",
    "a scheme, a space and no token": "Bearer ",
    "two spaces": f"Bearer  {GOOD}",
    "a tab": f"Bearer\t{GOOD}",
    "a space in front": f" Bearer {GOOD}",
    "a space at the end": f"Bearer {GOOD} ",
    "a line break at the end": f"Bearer {GOOD}\n",
    "two tokens": f"Bearer {GOOD}, Bearer {GOOD}",
    "a comma": f"Bearer {GOOD},",
    "quotes": f'Bearer "{GOOD}"',
    "letters that look like ours": f"B\u0435arer {GOOD}",
}


def test_there_are_at_least_forty_hostile_tokens() -> None:
    assert len(HOSTILE_TOKENS) >= 40


@pytest.mark.parametrize("name", HOSTILE_TOKENS)
def test_a_hostile_token_is_not_accepted(name: str) -> None:
    with pytest.raises(Unauthenticated):
        principal_of(f"Bearer {HOSTILE_TOKENS[name]}")


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_hostile_header_is_not_accepted(name: str) -> None:
    with pytest.raises(Unauthenticated):
        principal_of(HOSTILE_HEADERS[name])


@pytest.mark.parametrize("secret", [SECRET, KEYS["previous"]])
def test_a_token_without_a_kid_is_tried_with_every_key(secret: str) -> None:
    assert principal_of(f"Bearer {sign(good(), secret)}").sub == "service-1"


@pytest.mark.parametrize("kid", list(KEYS))
def test_a_token_with_a_kid_is_tried_with_that_key(kid: str) -> None:
    assert principal_of(f"Bearer {sign(good(), KEYS[kid], kid=kid)}").sub == "service-1"


@pytest.mark.parametrize("role", list(Role))
def test_a_principal_is_what_its_token_says(role: Role) -> None:
    token = sign(good(sub="auth0|me@example.com", role=role, venueId="venue-9"))
    assert principal_of(f"Bearer {token}") == Principal("auth0|me@example.com", role, venue_id="venue-9")  # type: ignore[arg-type] # a plain id reads better


def test_a_token_need_not_name_a_venue() -> None:
    assert principal_of(f"Bearer {sign(good(venueId=...))}").venue_id is None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW + 1},
        {"iat": NOW, "exp": NOW + 24 * 3600},
        {"iat": NOW + 5},
        {"nbf": NOW + 5},
        {"nbf": NOW - 5, "jti": "1", "scope": ["a"]},
    ],
    ids=str,
)
def test_a_token_at_the_edge_of_its_time_holds(changes: dict[str, Any]) -> None:
    assert principal_of(f"Bearer {sign(good(**changes))}").sub == "service-1"


def test_the_scheme_is_read_in_any_case() -> None:
    assert principal_of(f"bearer {GOOD}").sub == "service-1"


def test_a_token_that_was_let_in_is_not_let_in_for_ever() -> None:
    header, tokens = f"Bearer {GOOD}", TOKENS
    allowed = ring()
    assert authenticate(header, keys=allowed, tokens=tokens, now=START).sub == "service-1"
    with pytest.raises(Unauthenticated, match="expired"):
        authenticate(header, keys=allowed, tokens=tokens, now=START + timedelta(hours=1))
    with pytest.raises(Unauthenticated):
        authenticate(header, keys=ring({"next": OTHER_SECRET}), tokens=tokens, now=START)


class TestKeyRing:
    def setup_method(self) -> None:
        self.clock = ManualClock()
        self.keys = {"old": "o" * 32}
        self.reads = 0
        self.broken = False
        self.journal = ListJournal()
        self.ring = KeyRing(self.read, clock=self.clock, journal=self.journal)

    def read(self) -> dict[str, str]:
        self.reads += 1
        if self.broken:
            raise StoreRefused
        return dict(self.keys)

    def test_keys_are_read_once_for_many_tokens(self) -> None:
        for _ in range(10):
            assert self.ring.keys_for("old") == ["o" * 32]
        assert self.reads == 1

    def test_a_new_key_is_known_within_half_a_minute(self) -> None:
        self.ring.keys_for(None)
        self.keys["new"] = "n" * 32
        assert self.ring.keys_for("new") == []
        self.clock.advance(timedelta(seconds=30))
        assert self.ring.keys_for("new") == ["n" * 32]

    def test_a_key_taken_off_the_list_is_refused_within_five_minutes(self) -> None:
        self.ring.keys_for("old")
        self.keys = {"new": "n" * 32}
        self.clock.advance(timedelta(minutes=5))
        assert self.ring.keys_for("old") == []
        assert self.ring.keys_for(None) == ["n" * 32]

    def test_strangers_cannot_make_it_read_more_than_twice_a_minute(self) -> None:
        for second in range(60):
            self.ring.keys_for(f"stranger-{second}")
            self.clock.advance(timedelta(seconds=1))
        assert self.reads == 2

    def test_known_keys_outlive_a_store_that_does_not_answer(self) -> None:
        self.ring.keys_for("old")
        self.broken = True
        self.clock.advance(timedelta(minutes=5))
        assert self.ring.keys_for("old") == ["o" * 32]
        assert self.journal.actions() == ["token_keys_unread"]

    def test_without_any_keys_nobody_is_let_in_and_nobody_turned_away(self) -> None:
        self.broken = True
        with pytest.raises(StoreRefused):
            self.ring.keys_for(None)
        self.broken = False
        assert self.ring.keys_for(None) == ["o" * 32]
