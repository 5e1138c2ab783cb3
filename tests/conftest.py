"""What several suites share: one embedded AWS for the whole run, and a stack of its own for each test."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from local.emulator import Emulator
from local.stack import create_stack

# With CI=1 Hypothesis would try the same examples in every run.
settings.register_profile("shared machine", deadline=None, derandomize=False)
settings.load_profile("shared machine")

_stages = count(1)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Start the embedded AWS once, with nothing kept from earlier runs."""
    directory: Path = tmp_path_factory.mktemp("aws")
    with Emulator(directory, stage="tests") as running:
        running.start()
        yield running


@pytest.fixture
def new_stack(emulator: Emulator) -> Callable[..., Mapping[str, str]]:
    """Return what makes a stack nobody else uses, and returns its environment (see `local/stack.py`).

    `visibility_timeout` is in seconds.
    """

    def make(visibility_timeout: int = 360) -> Mapping[str, str]:
        stage = f"t{next(_stages)}"
        return create_stack(emulator.endpoint, stage=stage, visibility_timeout=visibility_timeout)

    return make
