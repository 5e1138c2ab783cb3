"""Programs that some tests need and pip does not have; `.ci/run` installs them."""

import os
import shutil

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "chromium": "chromium",
}  # as Debian calls them


def where(name: str) -> str | None:
    """Return where a program is, which a variable such as CHROMIUM may say; None: nowhere."""
    return shutil.which(os.environ.get(name.upper()) or name)


def untested() -> str:
    """Return what tests were skipped for want of, and how to get it; empty when all is there."""
    missing = [name for name in PACKAGES if where(name) is None]
    packages = " ".join(sorted({PACKAGES[name] for name in missing}))
    return f"Skipped what needs {' and '.join(missing)}: apt-get install {packages}" if missing else ""
