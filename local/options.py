"""What the person who starts the local stack may choose, read from the environment in one place."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCALSTACK = "http://localhost:4566"  # where LocalStack listens unless told otherwise


class OptionError(Exception):
    """A variable is not as it must be; the message says which and what to do."""


@dataclass(frozen=True)
class Options:
    """`endpoint` is None where the embedded AWS is to be started; `every` replaces the schedules' own rates.

    `silence` is how long a stand-in that does not answer keeps its caller waiting before it hangs up.
    """

    port: int
    directory: Path
    persist: bool
    endpoint: str | None
    function_timeout: timedelta
    every: timedelta | None
    silence: timedelta

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Options":
        """Read and check the environment; raises OptionError."""
        every = _seconds(environ, "SCHEDULE_SECONDS", "0")
        return cls(
            port=_port(environ.get("PORT") or "8000"),
            directory=local_directory(environ),
            persist=_yes_or_no(environ, "PERSIST"),
            endpoint=_endpoint(environ),
            function_timeout=_seconds(environ, "FUNCTION_TIMEOUT_SECONDS", "60"),
            every=every or None,
            silence=_seconds(environ, "STAND_IN_SILENCE_SECONDS", "60"),
        )


def local_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the local stack keeps its state: .local, or LOCAL_DIR."""
    return Path(environ.get("LOCAL_DIR") or ROOT / ".local").resolve()


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65_535):
        raise OptionError(f"PORT={text} is no port: give a number up to 65535, 0 for a free one.")
    return int(text)


def _yes_or_no(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name) or "1"
    if text not in ("0", "1"):
        raise OptionError(f"{name}={text} is not understood: give 1 (keep accepted jobs, as usual) or 0.")
    return text == "1"


def _endpoint(environ: Mapping[str, str]) -> str | None:
    aws = environ.get("AWS") or ""
    if aws not in ("", "ministack", "localstack"):
        raise OptionError(
            f"AWS={aws} is not understood: leave it out for the embedded one, give localstack for a"
            " LocalStack that runs already, or set AWS_ENDPOINT_URL."
        )
    return environ.get("AWS_ENDPOINT_URL") or (LOCALSTACK if aws == "localstack" else None)


def _seconds(environ: Mapping[str, str], name: str, usual: str) -> timedelta:
    text = environ.get(name) or usual
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 900:
        raise OptionError(f"{name}={text} is not understood: give seconds, at most 900.")
    return timedelta(seconds=seconds)
