"""Create .venv and .venv-aws where they are missing or old, by pip alone: `python -m local.install run|dev`.

Runs on a bare Python, so it imports nothing but the standard library. A stamp in each environment says
what was installed; while it fits, this returns at once.
"""

import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNREACHABLE = (
    "Retrying (",
    "Could not fetch URL",
    "Temporary failure in name resolution",
    "No matching distribution",
)


class InstallError(Exception):
    """The environments could not be made; the message says what to do."""


@dataclass(frozen=True)
class Environment:
    """A directory, and the requirement files of each set-up that it can hold, the smaller one first."""

    path: Path
    sets: dict[str, Sequence[str]]

    @property
    def python(self) -> Path:
        """The interpreter inside."""
        return self.path / "bin" / "python"

    def stamp(self, name: str) -> Path:
        """The file that says what was installed for a set-up."""
        return self.path / f".installed-{name}"

    def fingerprint(self, name: str) -> str:
        """What the stamp must say: the requirements, the Python, the place (environments cannot be moved)."""
        parts = [sys.version.split()[0], str(self.path)]
        parts += [(ROOT / file).read_text() for file in self.sets[name]]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def has(self, name: str) -> bool:
        """Whether a set-up is there as it should be."""
        stamp = self.stamp(name)
        return stamp.exists() and stamp.read_text() == self.fingerprint(name) and self.python.exists()


SERVICE = ("requirements.txt", "requirements-traces.txt", "requirements-local.txt")
AWS = ("requirements-aws.txt",)
VENV = Environment(ROOT / ".venv", {"run": SERVICE, "dev": (*SERVICE, "requirements-dev.txt")})
VENV_AWS = Environment(ROOT / ".venv-aws", {"run": AWS, "dev": AWS})


def install(name: str) -> None:
    """Bring both environments to a set-up, side by side; raises InstallError."""
    if VENV.has(name) and VENV_AWS.has(name):
        return
    with _alone():
        wanting = [environment for environment in (VENV, VENV_AWS) if not environment.has(name)]
        if not wanting:
            return
        started = time.monotonic()
        names = " and ".join(environment.path.name for environment in wanting)
        print(f"Setting up {names} (only when requirements change) ...", end=" ", flush=True)
        _create(VENV, with_pip=True)
        pips = [(environment, _pip(environment, name)) for environment in wanting]
        try:
            for environment, pip in pips:
                _finish(environment, pip, name)
        finally:
            for _, pip in pips:
                pip.kill()
        print(f"done in {time.monotonic() - started:.0f} s.", flush=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Wait for another `make` that is setting up the same environments."""
    lock = ROOT / ".local" / "install.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _create(environment: Environment, *, with_pip: bool) -> None:
    """Make the environment, unless it runs and is of this Python."""
    probe = f"import sys; {'import pip; ' if with_pip else ''}print(sys.version.split()[0])"
    if environment.python.exists():
        found = subprocess.run([environment.python, "-c", probe], capture_output=True, text=True, check=False)
        if found.stdout.strip() == sys.version.split()[0]:
            return
    options = ["--clear"] if with_pip else ["--clear", "--without-pip"]
    made = subprocess.run(
        [sys.executable, "-m", "venv", *options, environment.path], capture_output=True, text=True, check=False
    )
    if made.returncode:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise InstallError(
            f"This Python ({sys.executable}) cannot make virtual environments. On Debian and Ubuntu:"
            f" apt-get install python{version}-venv; or name another one: make PYTHON=/path/to/python3"
            f"\n{(made.stdout + made.stderr).strip()[-400:]}"
        )


def _pip(environment: Environment, name: str) -> subprocess.Popen[str]:
    """Start pip for an environment; bytecode is left to the first import, which halves the wait."""
    _create(environment, with_pip=environment is VENV)
    files = [part for file in environment.sets[name] for part in ("-r", str(ROOT / file))]
    # One pip serves both: making it a second time would cost as long as what it installs.
    pip = [str(VENV.python), "-m", "pip", "--python", str(environment.python), "install"]
    options = ["--quiet", "--no-compile", "--no-input", "--disable-pip-version-check", "--retries", "3"]
    return subprocess.Popen(
        [*pip, *options, *files], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _finish(environment: Environment, pip: subprocess.Popen[str], name: str) -> None:
    said, _ = pip.communicate()
    if pip.returncode:
        cause = "pip could not install what is pinned"
        if any(sign in said for sign in UNREACHABLE):
            cause = "The package registry cannot be reached, or it lacks a pinned version: check the network"
            cause += " and pip's settings (pip config list), then run the same command again"
        raise InstallError(f"{cause} ({environment.path.name}). The last that pip said:\n{said.strip()[-800:]}")
    reached = list(environment.sets)[: list(environment.sets).index(name) + 1]
    for smaller in reached:
        environment.stamp(smaller).write_text(environment.fingerprint(smaller))


if __name__ == "__main__":
    try:
        install(sys.argv[1])
    except InstallError as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit(130)
