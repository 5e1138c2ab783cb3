"""Tools that read the API's description, in an environment of their own, made when first asked for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app import app
from chalicelib import wiring
from local.server import Api
from tests.front import Front

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-openapi"
REQUIREMENTS = ROOT / "requirements-openapi.txt"


class NotInstalled(Exception):
    """Something is missing; the message says what."""


def python() -> Path:
    """Return the Python of the environment; raises NotInstalled."""
    stamp, found = HOME / ".installed", HOME / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        _install([sys.executable, "-m", "venv", "--clear", "--without-pip", str(HOME)])
        pip = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet"]
        _install([*pip, "--disable-pip-version-check", "-r", str(REQUIREMENTS)])
        stamp.write_text(REQUIREMENTS.read_text())
    return found


def run(script: str, order: dict[str, Any]) -> Any:
    """Run a script beside this file with an order, and return the JSON that it prints."""
    command = [str(python()), str(Path(__file__).with_name(script)), json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


@contextmanager
def served(front: Front) -> Iterator[str]:
    """Serve a front on a socket and give its URL."""
    api = Api("127.0.0.1", 0)
    api.start(app)
    try:
        yield api.url
    finally:
        api.stop()
        wiring.install(None)


def _install(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command[1:4])} failed: {done.stderr.strip()[-300:]}")
