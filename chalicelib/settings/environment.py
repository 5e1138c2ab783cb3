"""Reading variables of the environment: each by what it must be, and all that is wrong with them at once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from chalicelib.domain.errors import QueueServiceError

T = TypeVar("T")

LEAST_SECRET_BYTES = 32
ARN = re.compile(r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:\S+")


class SettingsError(QueueServiceError):
    """The environment is not as it must be, so the service refuses to start; names every bad variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The settings are not valid:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret: itself on one's own machine, or where Secrets Manager keeps it; one of the two is given."""

    value: str | None = field(repr=False)
    arn: str | None


class Reader:
    """Reads variables and gathers what is wrong with them; an empty one counts as not set."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def required(self, name: str, read: Callable[[str], str]) -> str:
        """Return the value of a variable; a missing one is a problem."""
        if not self._environ.get(name):
            self.problems.append(f"{name} is missing: set it to {Wanted.of(read)}.")
            return ""
        return self.optional(name, read) or ""

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        """Return the value of a variable if it is set; one that `read` does not want is a problem."""
        value = self._environ.get(name)
        if not value:
            return None
        try:
            return read(value)
        except Wanted as wanted:
            self.problems.append(f"{name} is not valid: set it to {wanted}.")
            return None

    def secret(self, name: str, read: Callable[[str], str]) -> Secret | None:
        """Read a secret from the variable of this name, or its ARN from the one that ends in _ARN."""
        value = self.optional(name, read)
        arn = self.optional(f"{name}_ARN", matching(ARN, f"the ARN of the secret that holds {name}"))
        if self.has(name) and self.has(f"{name}_ARN"):
            self.forbid(name, f"{name}_ARN says where it is")
        return None if value is None and arn is None else Secret(value, arn)

    def forbid(self, name: str, why: str) -> None:
        """Have a variable that is set be a problem."""
        if self._environ.get(name):
            self.problems.append(f"{name} must not be set: {why}.")

    def has(self, name: str) -> bool:
        """Whether a variable is set."""
        return bool(self._environ.get(name))

    def named(self, prefix: str) -> list[str]:
        """Return the variables that are set and begin so."""
        return [name for name, value in self._environ.items() if name.startswith(prefix) and value]


class Wanted(Exception):
    """Says what a variable should be set to; never its value, which may be a secret."""

    @classmethod
    def of(cls, read: Callable[[str], object]) -> str:
        """Return what a reader wants, by offering it nothing."""
        try:
            read("")
        except cls as wanted:
            return str(wanted)
        return "a value"


def matching(pattern: re.Pattern[str], wanted: str) -> Callable[[str], str]:
    """Return a reader of what matches a pattern as a whole."""

    def read(value: str) -> str:
        if not pattern.fullmatch(value):
            raise Wanted(wanted)
        return value

    return read


def random_secret(value: str) -> str:
    """Read a secret that nobody may guess."""
    if len(value.encode()) < LEAST_SECRET_BYTES:
        raise Wanted(f"a random value of at least {LEAST_SECRET_BYTES} bytes")
    return value


def one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    """Return a reader of these words."""

    def read(value: str) -> str:
        if value not in values:
            raise Wanted("one of " + ", ".join(values))
        return value

    return read


def url(schemes: tuple[str, ...], wanted: str) -> Callable[[str], str]:
    """Return a reader of URLs that name a host."""

    def read(value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise Wanted(wanted)
        return value

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return a reader of whole numbers."""

    def read(value: str) -> int:
        if not (re.fullmatch(r"\d{1,10}", value, re.ASCII) and least <= int(value) <= most):
            raise Wanted(f"a whole number from {least} to {most}")
        return int(value)

    return read
