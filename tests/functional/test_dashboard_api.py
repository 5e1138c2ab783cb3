"""The operator's page as the service serves it: whole, guarded, and with the job types that there are."""

import re
from collections.abc import Iterator

import pytest

from chalicelib import wiring
from chalicelib.http.dashboard import FOLDER, MEDIA
from chalicelib.jobtypes import discover
from tests.front import Front


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


def test_the_page_offers_every_job_type_that_there_is(front: Front) -> None:
    page = front.client.http.get("/dashboard").body.decode()
    [types] = re.findall(r'data-types="([^"]+)"', page)
    assert set(types.split()) == discover().keys()
    assert "{" not in page


@pytest.mark.parametrize("name", sorted(each.name for each in FOLDER.iterdir() if each.suffix in MEDIA))
def test_every_file_is_served_guarded_and_not_sent_again_to_who_has_it(front: Front, name: str) -> None:
    answer = front.client.http.get(f"/dashboard/{name}")
    assert (answer.status_code, answer.body.decode()) == (200, (FOLDER / name).read_text("utf-8"))
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    again = front.client.http.get(f"/dashboard/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.body) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "NOTICE", "nothing.js", "..%2Fwiring.py"])
def test_nothing_else_is_served(front: Front, name: str) -> None:
    assert front.client.http.get(f"/dashboard/{name}").status_code == 404
