"""Programs that some tests need and pip does not have."""

import os

import pytest

from local.programs import PACKAGES, where


def program(name: str) -> str:
    """Return where a program is; without it skips the test, or fails it where CI=1 says that all are there."""
    found = where(name)
    if found is not None:
        return found
    reason = f"{name} is missing: apt-get install {PACKAGES[name]}"
    if os.environ.get("CI") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
