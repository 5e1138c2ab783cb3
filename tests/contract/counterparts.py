"""What others wrote to stand for Stripe, each in a process of its own that ends with the tests."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCALSTRIPE = ROOT / ".venv-localstripe"
REQUIREMENTS = ROOT / "requirements-localstripe.txt"
STATEFUL_MOCK = "stripe-stateful-mock@0.0.16"
MOCK_HOME = ROOT / ".local" / "stripe-stateful-mock"

MOCK = """
require("loglevel").setLevel("silent");
const server = require("stripe-stateful-mock").createExpressApp().listen(0, "127.0.0.1", () => {
  console.log(server.address().port);
});
process.stdin.on("end", () => process.exit(0)).resume();
"""


class NotInstalled(Exception):
    """Something is missing; the message says what to install."""


class Counterpart:
    """A server in a process of its own that prints its port, and ends when its standard input does."""

    def __init__(self, command: list[str], directory: Path = ROOT) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            self.stop()
            raise NotInstalled(
                f"It did not start: {' '.join(command[:2])} ended with {self._process.returncode}."
            )
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """End it; no process is left."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(10)


def localstripe() -> Counterpart:
    """Start localstripe: flows and declines of PaymentIntents; it ignores keys. Raises NotInstalled."""
    python = LOCALSTRIPE / "bin" / "python"
    stamp = LOCALSTRIPE / ".installed"
    if not stamp.exists() or stamp.read_text() != REQUIREMENTS.read_text():
        _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(LOCALSTRIPE)], "venv")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        _run([*pip, "--disable-pip-version-check", "-r", str(REQUIREMENTS)], "pip")
        stamp.write_text(REQUIREMENTS.read_text())
    return Counterpart([str(python), str(Path(__file__).with_name("localstripe_process.py"))])


def stateful_mock() -> Counterpart:
    """Start stripe-stateful-mock: it honours keys, for charges and refunds alone. Raises NotInstalled."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotInstalled(f"{STATEFUL_MOCK} runs on Node.js: install node and npm.")
    if not (MOCK_HOME / "node_modules" / "stripe-stateful-mock").exists():
        MOCK_HOME.mkdir(parents=True, exist_ok=True)
        flags = ["--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        _run(["npm", "install", "--prefix", str(MOCK_HOME), *flags, STATEFUL_MOCK], "npm")
    return Counterpart(["node", "-e", MOCK], MOCK_HOME)


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{name} failed: {done.stderr.strip()[-300:]}")
