"""The API's description: whole, valid, made of what validates, and readable without a network."""

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from openapi_spec_validator import validate

from app import app
from chalicelib import wiring
from chalicelib.http.docs import CHAPTERS
from chalicelib.http.openapi import HEADERS, REFUSALS, TAGS, describe
from chalicelib.http.operations import Answer, Operation
from chalicelib.http.page import page
from chalicelib.jobtypes import discover
from chalicelib.service.intake import ENVELOPE, Schema
from tests.front import Front

ROWS = {place: row for rows, _ in CHAPTERS for place, row in rows.items()}


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()
    wiring.install(None)


@pytest.fixture
def document(front: Front) -> dict[str, Any]:
    answer: dict[str, Any] = front.client.http.get("/openapi.json").json_body
    return answer


def test_every_route_has_its_row() -> None:
    served = {(method, path) for path, methods in app.routes.items() for method in methods}
    missing = {row for row in served if row[0] != "OPTIONS"} - ROWS.keys()
    assert not missing, "Add a row to OPERATIONS of the view's module (and the module to docs.CHAPTERS)."
    assert ROWS.keys() <= served


def test_every_row_says_who_may_in_which_chapter_under_a_name_of_its_own() -> None:
    assert sum(len(rows) for rows, _ in CHAPTERS) == len(ROWS)
    assert len({row.id for row in ROWS.values()}) == len(ROWS)
    assert {row.tag for row in ROWS.values()} == TAGS.keys()
    assert all(row.public == (row.who in ("anyone", "whoever signs it")) for row in ROWS.values())


def test_every_parameter_of_a_path_is_described() -> None:
    for (_, path), row in ROWS.items():
        described = {each.name for each in row.parameters if each.where == "path"}
        assert described == set(re.findall(r"\{(\w+)\}", path)), path


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")


def test_every_schema_is_valid_and_used_and_holds_its_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    used = set(re.findall(r"#/components/schemas/([A-Za-z]+)", str(document)))
    assert used == schemas.keys()
    for name, schema in schemas.items():
        whole = Schema({"components": {"schemas": schemas}, **schema})
        for example in schema.get("examples", []):
            assert whole.problems(example) == [], name


def test_every_job_type_is_one_choice_of_the_body_by_its_name(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    submission = schemas["Submission"]
    assert len(submission["oneOf"]) == len(discover())
    assert submission["discriminator"]["mapping"].keys() == discover().keys()
    for name, reference in submission["discriminator"]["mapping"].items():
        choice = schemas[reference.rsplit("/", 1)[1]]
        assert choice["properties"]["type"]["enum"] == [name]
        assert all(older in choice["properties"]["type"]["description"] for older in discover()[name].aliases)
        assert choice["properties"].keys() == ENVELOPE["properties"].keys()
        assert choice["required"] == ENVELOPE["required"]


def test_the_schemas_are_those_that_validate(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for job_type in discover().values():
        submit = schemas["Submission"]["discriminator"]["mapping"][job_type.name].rsplit("/", 1)[1]
        data = dict(schemas[schemas[submit]["properties"]["data"]["$ref"].rsplit("/", 1)[1]])
        assert data.pop("examples") == [job_type.example]
        assert data == {key: value for key, value in job_type.schema.items() if key != "$schema"}


def test_every_example_of_a_submission_is_accepted(front: Front, document: dict[str, Any]) -> None:
    for choice in document["components"]["schemas"]["Submission"]["oneOf"]:
        [example] = document["components"]["schemas"][choice["$ref"].rsplit("/", 1)[1]]["examples"]
        assert front.post(example).status_code == 201


def test_whoever_needs_a_token_is_told_so_and_what_refuses_it(document: dict[str, Any]) -> None:
    for (method, path), row in ROWS.items():
        described = document["paths"][path][method.lower()]
        assert (described["security"] == []) == row.public
        assert ({"401", "429"} <= described["responses"].keys()) == (not row.public)
        assert ({"413", "415"} <= described["responses"].keys()) == (row.body is not None)


def test_the_url_of_the_service_is_the_settings() -> None:
    front = Front(environment={"PUBLIC_BASE_URL": "https://queue.example/api/"})
    servers = front.client.http.get("/openapi.json").json_body["servers"]
    assert servers == [{"url": "https://queue.example/api"}]
    assert "servers" not in Front().client.http.get("/openapi.json").json_body
    wiring.install(None)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_what_a_reader_has_already_is_not_sent_again(front: Front, path: str) -> None:
    first = front.client.http.get(path)
    assert first.headers["Cache-Control"] == "public, max-age=300"
    etag = first.headers["ETag"]
    for known in (etag, f'W/{etag}, "other"'):
        again = front.client.http.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.body, again.headers["ETag"]) == (304, b"", etag)
    assert front.client.http.get(path, headers={"If-None-Match": '"other"'}).body == first.body


class Tags(HTMLParser):
    """Reads a page, and fails at a tag that is never closed."""

    VOID = ("meta", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_lists_every_operation_schema_and_example(front: Front, document: dict[str, Any]) -> None:
    read = Tags(front.client.http.get("/docs").body.decode())
    assert read.open == []
    anchors = {attributes["id"] for _, attributes in read.seen if "id" in attributes}
    assert {row.id for row in ROWS.values()} | document["components"]["schemas"].keys() <= anchors
    links = {attributes["href"] for tag, attributes in read.seen if tag == "a"}
    assert {f"#{anchor}" for anchor in anchors} >= links - {"openapi.json"}
    assert all(path in read.words and row.summary in read.words for (_, path), row in ROWS.items())
    assert "pm_card_visa" in read.words
    assert "A multiple of 10" in read.words


def test_the_page_needs_no_network_and_runs_no_script(front: Front) -> None:
    answer = front.client.http.get("/docs")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    read = Tags(answer.body.decode())
    assert not {tag for tag, _ in read.seen} & {"script", "link", "img", "iframe", "base", "form"}
    assert not any(name == "style" or name.startswith("on") for _, each in read.seen for name in each)
    [style] = re.findall(r"<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy
    assert "://" not in style


def test_nothing_in_the_document_is_markup_on_the_page() -> None:
    evil = "<script>alert('&')</script>"
    row = Operation(
        id="evil", tag="jobs", summary=evil, who=evil, answers={200: Answer(evil, {"enum": [evil]})}
    )
    schema = {
        "type": "object",
        "properties": {evil: {"type": "string", "description": evil}},
        "examples": [evil],
    }
    html = page(describe([({("GET", "/evil"): row}, {"Evil": schema})], discover(), server=None))
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(&#x27;&amp;&#x27;)") >= 5


def test_every_header_and_refusal_has_a_place(document: dict[str, Any]) -> None:
    assert document["components"]["headers"].keys() == HEADERS.keys()
    assert document["components"]["responses"].keys() == {each.name for each in REFUSALS.values()}
