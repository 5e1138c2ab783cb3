"""docs/migration.md, held to its word: each payload of today is accepted, each old one refused."""

import json
import re
from typing import Any

import pytest

from chalicelib import jobtypes
from local.options import ROOT
from tests.front import Front

TEXT = (ROOT / "docs" / "migration.md").read_text()
TYPES = jobtypes.discover()


def blocks(kind: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in re.findall(rf"```json {kind}\n(.*?)\n```", TEXT, re.DOTALL)]


def section(name: str) -> str:
    """The part of the page whose heading names a type."""
    found = re.search(rf"^## [^\n]*`{re.escape(name)}`$(.*?)(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/migration.md has no section for {name}"
    return found.group(1)


@pytest.mark.parametrize("body", blocks("now"), ids=lambda body: str(body["type"]))
def test_what_the_page_says_to_send_now_is_accepted(body: dict[str, Any]) -> None:
    response = Front().post(body)
    assert response.status_code == 201, response.json_body
    assert response.json_body["type"] == body["type"]


@pytest.mark.parametrize("body", blocks("before"), ids=lambda body: str(body["type"]))
def test_what_was_sent_before_is_refused_field_by_field(body: dict[str, Any]) -> None:
    response = Front().post(body | {"onBehalfOf": {"venueId": "v1"}})
    assert response.status_code == 400
    fields = [each["field"] for each in response.json_body["details"]]
    assert fields
    assert all(field.startswith("data") for field in fields), "the older name itself is still taken"


@pytest.mark.parametrize("name", TYPES)
def test_every_type_older_name_and_field_is_on_the_page(name: str) -> None:
    text = section(name)
    properties: dict[str, Any] = dict(TYPES[name].schema["properties"])
    assert [field for field in properties if field not in text] == []
    assert [alias for alias in TYPES[name].aliases if alias not in text] == []


def test_the_page_has_a_payload_of_today_for_every_type() -> None:
    assert {body["type"] for body in blocks("now")} == set(TYPES)
