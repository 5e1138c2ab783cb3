"""Starts `python -m local.run` as a person would, on a free port and with a state of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from local.identity import signing_secret, token
from local.options import ROOT
from local.rest import Client

PATIENCE = 30.0  # seconds


class RunningStack:
    """One local stack, from its start until it is gone."""

    def __init__(self, directory: Path, *, port: int = 0, **environment: str) -> None:
        self.directory = directory
        self.output = directory / f"output-{time.monotonic_ns()}"
        directory.mkdir(exist_ok=True)
        began = time.monotonic()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local.run", "--with-parent"],
                cwd=ROOT,
                env=os.environ | {"LOCAL_DIR": str(directory), "PORT": str(port)} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.endpoints = self._await_endpoints()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.seconds_to_start = time.monotonic() - began
        self.port = int(self.endpoints["api"].rpartition(":")[2])

    def __enter__(self) -> "RunningStack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGTERM)

    def end(self, signum: int) -> int:
        """Send a signal and return the exit code, once the process is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def line(self, wanted: Callable[[str], object]) -> str:
        """Return the first line that is wanted, once it is printed."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for line in self.banner:
                if wanted(line):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"never printed; but this was: {self.banner[-20:]}")

    @property
    def banner(self) -> list[str]:
        """What was printed so far, by line."""
        return self.output.read_text().splitlines()

    def client(self) -> Client:
        """A client that speaks for an admin of venue v1."""
        return Client(self.endpoints["api"], token(signing_secret(self.directory)))

    def ledger(self) -> list[dict[str, Any]]:
        """What the stand-ins really did."""
        client = Client(self.endpoints["providers"]["stripe"])
        effects: list[dict[str, Any]] = client.get("/_ledger").body["effects"]
        client.close()
        return effects

    def _await_endpoints(self) -> Mapping[str, Any]:
        path = self.directory / "endpoints.json"
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            if path.exists():
                endpoints: Mapping[str, Any] = json.loads(path.read_text())
                return endpoints
            time.sleep(0.05)
        raise AssertionError(f"the stack did not come up: {self.output.read_text()}")


def await_state(client: Client, job_id: str, state: str) -> dict[str, Any]:
    """Return a job once it is in a state; fails when that takes too long."""
    end = time.monotonic() + PATIENCE
    while True:
        answer = client.get(f"/v1/jobs/{job_id}")
        assert answer.status == 200, answer
        if answer.body["state"] == state:
            job: dict[str, Any] = answer.body
            return job
        assert time.monotonic() < end, answer.body
        time.sleep(0.1)


def processes_of(directory: Path) -> list[int]:
    """Return the processes that were started with this state directory, children of children included."""
    mark = f"LOCAL_DIR={directory}".encode()
    found: list[int] = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
        except OSError:
            continue  # it has ended meanwhile, or is not ours
    return found
