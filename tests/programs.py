"""Programs that some tests need and pip does not have."""

import os
import shutil

import pytest


def program(name: str, *, package: str) -> str:
    """Return where a program is; without it skips the test, or fails it where CI=1 says that all are there."""
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"{name} is missing: apt-get install {package}"
    if os.environ.get("CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
