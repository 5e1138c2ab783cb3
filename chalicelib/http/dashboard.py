"""The operator's page: files served as they stand. They hold nothing: all that is shown is asked of the API."""

from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

from chalice.app import Blueprint, Response

from chalicelib import wiring
from chalicelib.domain.errors import NotFound
from chalicelib.http.operations import Answer, Operation, Operations, Parameter, Shape
from chalicelib.http.texts import UNCHANGED, Text, answer
from chalicelib.http.views import view

routes = Blueprint(__name__)

FOLDER = Path(__file__).parent.parent / "dashboard"
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
KEPT_FOR = "no-cache"  # asked for anew each time, by its version: the files of two releases never mix for long
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ]
)
GUARD = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@routes.route("/dashboard", methods=["GET"], content_types=[])
@view
def read_dashboard() -> Response:
    """Return the page."""
    made = wiring.service()
    return _told(_page(made.settings.stage, " ".join(made.types)), "text/html")


@routes.route("/dashboard/{name}", methods=["GET"], content_types=[])
@view
def read_dashboard_file(name: str) -> Response:
    """Return a file that the page is made of."""
    files = _files()
    if name not in files:
        raise NotFound
    return _told(files[name], MEDIA[Path(name).suffix])


def _told(text: Text, media: str) -> Response:
    headers = {"Content-Type": f"{media}; charset=utf-8", **GUARD}
    return answer(routes.current_request, text, headers, kept=KEPT_FOR)


@cache
def _page(stage: str, types: str) -> Text:
    page = (FOLDER / "index.html").read_text("utf-8")
    return Text(page.replace("{stage}", escape(stage)).replace("{types}", escape(types)))


@cache
def _files() -> Mapping[str, Text]:
    return {file.name: Text(file.read_text("utf-8")) for file in FOLDER.iterdir() if file.suffix in MEDIA}


NAME: Shape = {"type": "string", "pattern": "^[a-z-]{1,40}\\.(css|js|svg)$"}
OPERATIONS: Operations = {
    ("GET", "/dashboard"): Operation(
        id="readDashboard",
        tag="operations",
        summary="Open the operator's page",
        who="anyone",
        public=True,
        about="The page is empty until somebody signs in with a token, as which it then calls this API.",
        answers={
            200: Answer("The page.", {"type": "string"}, ("ETag",), media="text/html"),
            304: UNCHANGED,
        },
    ),
    ("GET", "/dashboard/{name}"): Operation(
        id="readDashboardFile",
        tag="operations",
        summary="Read a file that the page is made of",
        who="anyone",
        public=True,
        parameters=(Parameter("name", "path", NAME, "The file's name.", required=True),),
        answers={
            200: Answer("The file.", {"type": "string"}, ("ETag",), media="text/javascript"),
            304: UNCHANGED,
        },
        refusals=(404,),
    ),
}
