"""What a browser is told: pages of the origins in CORS_ORIGINS may call, all others may not."""

from collections.abc import Iterator

import pytest
from chalice.deploy.swagger import CFNSwaggerGenerator
from chalice.test import HTTPResponse

from app import app
from chalicelib import wiring
from chalicelib.settings import Settings, SettingsError
from tests.front import ENVIRONMENT, Front

SHOP, BACK_OFFICE = "https://shop.example", "http://localhost:5173"
PATHS = sorted(app.routes)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front(environment={"CORS_ORIGINS": f"{SHOP}, {BACK_OFFICE}"})
    wiring.install(None)


def preflight(front: Front, path: str, origin: str, method: str = "POST") -> HTTPResponse:
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    return front.client.http.request("OPTIONS", path.replace("{", "").replace("}", ""), headers=headers)


def allowed(response: HTTPResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("Access-Control-")}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [SHOP, BACK_OFFICE])
def test_every_route_answers_the_preflight_of_an_allowed_page(front: Front, path: str, origin: str) -> None:
    response = preflight(front, path, origin)
    assert (response.status_code, response.body) == (204, b"")
    told = allowed(response)
    assert told["Access-Control-Allow-Origin"] == origin
    assert set(told["Access-Control-Allow-Methods"].split(", ")) == set(app.routes[path])
    assert {"Authorization", "Content-Type", "Idempotency-Key"} <= {
        each.strip() for each in told["Access-Control-Allow-Headers"].split(",")
    }
    assert "Origin" in response.headers["Vary"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "*",
        "https://shop.example.evil.example",
        "https://shop.example:444",
        "http://shop.example",
        "https://SHOP.example",
        "https://shop.example, https://evil.example",
        "",
    ],
)
def test_another_page_is_allowed_nothing(front: Front, origin: str) -> None:
    assert allowed(preflight(front, "/v1/jobs", origin)) == {}
    answer = front.client.http.get("/health", headers={"Origin": origin})
    assert answer.status_code == 200
    assert allowed(answer) == {}
    assert answer.headers["Vary"] == "Origin"  # a cache keeps it apart from an allowed page's


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/jobs/job_1", 401),
        ("POST", "/v1/jobs", 401),
        ("PATCH", "/v1/jobs", 405),
    ],
)
def test_an_allowed_page_reads_every_answer_errors_too(
    front: Front, method: str, path: str, status: int
) -> None:
    response = front.client.http.request(method, path, headers={"Origin": SHOP})
    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == SHOP
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


def test_on_aws_every_preflight_comes_to_the_service() -> None:
    paths = CFNSwaggerGenerator().generate_swagger(app)["paths"]
    assert set(paths) == set(app.routes)
    for methods in paths.values():
        assert methods["options"]["x-amazon-apigateway-integration"]["type"] == "aws_proxy"


def test_credentials_are_never_allowed(front: Front) -> None:
    assert "Access-Control-Allow-Credentials" not in allowed(preflight(front, "/v1/jobs", SHOP))


def test_a_preflight_costs_no_request_and_needs_no_table(front: Front) -> None:
    preflight(front, "/v1/jobs", SHOP)
    assert front.quotas.draws == 0


def test_without_origins_nobody_is_told_anything() -> None:
    front = Front()
    assert allowed(preflight(front, "/v1/jobs", SHOP)) == {}
    assert "Vary" not in front.client.http.get("/health", headers={"Origin": SHOP}).headers
    wiring.install(None)


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://*.example",
        "https://shop.example/",
        "https://shop.example/path",
        "shop.example",
        "ftp://shop.example",
        "https://Shop.example",
        "https://shop.example,",
        "null",
        "https://user@shop.example",
        "https://shop.example https://other.example",
    ],
)
def test_an_origin_that_no_browser_would_send_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS is not valid"):
        Settings.from_env({**ENVIRONMENT, "CORS_ORIGINS": value})
