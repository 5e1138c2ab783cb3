"""Who may talk to the local stack: its signing secret, made at the first start, and tokens by it."""

import os
import secrets
import time
from pathlib import Path

import jwt

from chalicelib.domain.policies import Role

LIFE_SECONDS = 24 * 60 * 60  # the most that the service takes
ISSUER, AUDIENCE = "tickettoken", "tickettoken-platform"


class UnknownRole(Exception):
    """There is no such role; the message lists them."""


def signing_secret(directory: Path) -> str:
    """Return the secret of the local stacks that keep their state here; made when there is none, mode 0600."""
    path = directory / "jwt-secret"
    directory.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.touch(mode=0o600)
    made.write_text(secrets.token_urlsafe(48))
    try:
        os.link(made, path)  # of two that start at once one wins, and nobody reads half a secret
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return path.read_text()


def token(secret: str, *, role: str = "admin", venue: str = "v1", subject: str = "u1") -> str:
    """Return a bearer token that lives a day; no venue leaves the claim out. Raises UnknownRole."""
    if role not in tuple(Role):
        raise UnknownRole(f"There is no role {role!r}: give one of {', '.join(Role)}.")
    now = int(time.time())
    claims = {
        "sub": subject,
        "role": role,
        "iss": ISSUER,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + LIFE_SECONDS,
    }
    return jwt.encode(claims | ({"venueId": venue} if venue else {}), secret, algorithm="HS256")
