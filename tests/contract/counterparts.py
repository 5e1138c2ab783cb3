"""What others wrote to stand for Stripe and Twilio, each in a process of its own that ends with the tests."""

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

# Twilio, among others; the later one wants Node.js 22.
EMULATE = ("emulate@0.11.2", "emulate@0.12.2")
EMULATE_HOME = ROOT / ".local" / "emulate"
TWILIO_ACCOUNT, TWILIO_TOKEN, TWILIO_PHONE = f"AC{0:032x}", "twilio_local", "+15005550006"
# It would listen on every interface, and does not say on which port.
TWILIO = f"""
const {{Server}} = require("net"), listen = Server.prototype.listen;
Server.prototype.listen = function () {{
  this.on("listening", () => console.log(this.address().port));
  return listen.call(this, 0, "127.0.0.1");
}};
const account = {{sid: "{TWILIO_ACCOUNT}", auth_token: "{TWILIO_TOKEN}", friendly_name: "Ours"}};
const twilio = {{account, phone_numbers: [{{phone_number: "{TWILIO_PHONE}", sms_url: process.argv[1]}}]}};
const started = {{service: "twilio", port: 4000, seed: {{twilio}}}};
import("emulate").then(({{createEmulator}}) => createEmulator(started));
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
    _install(STATEFUL_MOCK, MOCK_HOME)
    return Counterpart(["node", "-e", MOCK], MOCK_HOME)


def emulate(webhook: str) -> Counterpart:
    """Start emulate as Twilio, which tells texts to our number to `webhook`. Raises NotInstalled."""
    _install(EMULATE[_node() >= 22], EMULATE_HOME)
    return Counterpart(["node", "-e", TWILIO, webhook], EMULATE_HOME)


def _node() -> int:
    """Return the major version of Node.js."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise NotInstalled("It runs on Node.js: install node and npm.")
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(told.strip().removeprefix("v").partition(".")[0] or 0)


def _install(package: str, home: Path) -> None:
    """Have npm install a package, unless it is there."""
    if _node() < 20:
        raise NotInstalled(f"{package} runs on Node.js 20 or newer.")
    if not (home / "node_modules" / package.partition("@")[0]).exists():
        home.mkdir(parents=True, exist_ok=True)
        flags = ["--no-audit", "--no-fund", "--silent", "--ignore-scripts"]
        _run(["npm", "install", "--prefix", str(home), *flags, package], "npm")


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{name} failed: {done.stderr.strip()[-300:]}")
