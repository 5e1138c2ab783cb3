"""One local stack for all tests that want nothing of it but that it runs as it does for everyone."""

from collections.abc import Iterator

import pytest

from tests.e2e.stacks import RunningStack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with RunningStack(tmp_path_factory.mktemp("stack")) as running:
        yield running
