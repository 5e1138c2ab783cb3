"""Bearer tokens: HS256 only, every claim required by name and type; anything odd is no token at all."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from jwt.utils import base64url_decode

from chalicelib.domain.errors import CallerError, Unauthenticated
from chalicelib.domain.job import VenueId
from chalicelib.domain.policies import TIMING, Role
from chalicelib.http.body import parse_object
from chalicelib.service.keyring import KeyRing
from chalicelib.service.principal import Principal
from chalicelib.settings import TokenSettings

ALGORITHM = "HS256"
MOST_CHARACTERS = 4096
LONGEST_LIFE = timedelta(hours=24)
KEPT = 512  # tokens, of at most 4 KB each
SKEW = TIMING.clock_skew.total_seconds()  # an issuer's clock may be this far ahead of ours

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)")
_IDENTITY = re.compile(r"[!-~]{1,255}")  # printable ASCII without spaces
_ROLES = {role.value: role for role in Role}
_VERIFIER = jwt.PyJWS()


def _is_identity(value: object) -> bool:
    return isinstance(value, str) and _IDENTITY.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return type(value) is int and value > 0


REQUIRED: Mapping[str, Callable[[object], bool]] = {
    "sub": _is_identity,
    "role": lambda value: isinstance(value, str) and value in _ROLES,
    "iat": _is_time,
    "exp": _is_time,
}
OPTIONAL: Mapping[str, Callable[[object], bool]] = {"nbf": _is_time, "venueId": _is_identity}

INVALID = "The bearer token is not valid."
EXPIRED = "The bearer token has expired: get a new one."


def authenticate(header: str | None, *, keys: KeyRing, tokens: TokenSettings, now: datetime) -> Principal:
    """Return who an Authorization header speaks for; raises Unauthenticated."""
    if not header:
        raise Unauthenticated
    bearer = _BEARER.fullmatch(header) if len(header) <= MOST_CHARACTERS else None
    if bearer is None:
        raise Unauthenticated('The Authorization header must be "Bearer", one space and a token.')
    claims = _verified(bearer.group(1), keys)
    _check(claims, tokens, now.timestamp())
    venue = claims.get("venueId")
    return Principal(claims["sub"], _ROLES[claims["role"]], None if venue is None else VenueId(venue))


def _verified(token: str, keys: KeyRing) -> Mapping[str, Any]:
    """Return the claims of a token that one of the allowed keys has signed."""
    for key in keys.keys_for(_kid(token)):
        try:
            return _claims(token, key)
        except jwt.PyJWTError:
            continue
    raise Unauthenticated(INVALID)


# A caller sends one token for an hour; to verify it anew each time is half of what accepting a job costs. Only
# what verified is kept, under the key that it verified with: a key off the list is never asked for again.
@lru_cache(maxsize=KEPT)
def _claims(token: str, key: str) -> Mapping[str, Any]:
    return _strict(_VERIFIER.decode_complete(token, key, algorithms=[ALGORITHM])["payload"])


def _check(claims: Mapping[str, Any], tokens: TokenSettings, now: float) -> None:
    ours = claims.get("iss") == tokens.issuer and claims.get("aud") == tokens.audience
    required = all(name in claims and holds(claims[name]) for name, holds in REQUIRED.items())
    optional = all(name not in claims or holds(claims[name]) for name, holds in OPTIONAL.items())
    if not (ours and required and optional):
        raise Unauthenticated(INVALID)
    if now >= claims["exp"]:
        raise Unauthenticated(EXPIRED)
    lives = 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFE.total_seconds()
    if not lives or max(claims["iat"], claims.get("nbf", 0)) > now + SKEW:
        raise Unauthenticated(INVALID)


@lru_cache(maxsize=KEPT)
def _kid(token: str) -> str | None:
    """Return the key that a token's header names; raises Unauthenticated for a header that asks for more."""
    try:
        header = _strict(base64url_decode(token.split(".", 1)[0]))
    except ValueError:
        raise Unauthenticated(INVALID) from None
    kid = header.get("kid")
    plain = header.get("alg") == ALGORITHM and str(header.get("typ", "JWT")).upper() == "JWT"
    if not plain or "crit" in header or "b64" in header or not isinstance(kid, str | None):
        raise Unauthenticated(INVALID)
    return kid


def _strict(raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except CallerError:
        raise Unauthenticated(INVALID) from None
