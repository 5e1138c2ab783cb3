"""The embedded AWS of the local stack and the tests: ministack, in a process of ours.

ministack pins botocore, so it lives in an environment of its own (.venv-aws). Where AWS_ENDPOINT_URL is
set, that endpoint (LocalStack, say) is used and nothing is started.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

from local.stack import create_stack

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-aws" / "bin" / "python"
TETHERED = Path(__file__).with_name("tethered.py")
PATIENCE = 20.0  # seconds until it must answer, or be gone


class EmulatorFailed(RuntimeError):
    """The embedded AWS did not come up; the message says what to do."""


class Emulator:
    """An emulated AWS with the service's stack on it, from `start` to `stop`.

    State is kept in `state_dir` when the process ends by SIGTERM, which it also does by itself when its
    parent dies; SIGKILL loses what changed since the start. `port` 0 picks a free one. `visibility_timeout`
    is in seconds.
    """

    def __init__(
        self, state_dir: Path, *, port: int = 0, stage: str = "local", visibility_timeout: int = 360
    ) -> None:
        self._state_dir = state_dir
        self._port = port
        self._stage = stage
        self._visibility_timeout = visibility_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")

    def start(self) -> dict[str, str]:
        """Start it, create the stack if it is not there, and return the environment that names all of it.

        Raises EmulatorFailed.
        """
        if not self.endpoint:
            port = self._port or _free_port()
            self._process = self._spawn(port)
            self.endpoint = f"http://127.0.0.1:{port}"
            try:
                self._await_answer()
            except EmulatorFailed:
                self.stop()
                raise
        return create_stack(self.endpoint, stage=self._stage, visibility_timeout=self._visibility_timeout)

    def stop(self) -> None:
        """Stop what was started, its state saved; no process is left."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            sys.stderr.write("emulator: did not end in time and was killed; its state was not saved\n")
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self.endpoint = ""

    def __enter__(self) -> "Emulator":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process that was started, if one was."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        """Where the emulator's own output goes."""
        return self._state_dir / "emulator.log"

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        if not PYTHON.exists():
            raise EmulatorFailed(f"{PYTHON} is missing: run `make setup`.")
        if _taken(port):
            raise EmulatorFailed(f"Port {port} is in use: choose another, or end what listens there.")
        self._state_dir.mkdir(parents=True, exist_ok=True)
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self._state_dir),
            "S3_DATA_DIR": str(self._state_dir / "s3"),
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }
        # Ours only: a profile or an endpoint of the caller's would lead its inner clients astray.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(PYTHON), "-P", str(TETHERED), "ministack.app"],  # -P: local/token.py is not the library's
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=inherited | settings,
                start_new_session=True,  # Ctrl-C is for its parent, which then stops it in good order
            )

    def _await_answer(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self._process is not None and self._process.poll() is not None:
                raise EmulatorFailed(f"The embedded AWS ended at once; {self.log} says why.")
            try:
                with urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.02)
        raise EmulatorFailed(f"The embedded AWS did not answer within {PATIENCE:.0f} s; see {self.log}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
