"""Texts that are served as they stand, with a version, so that who has one is not sent it again."""

from collections.abc import Mapping
from hashlib import sha256

from chalice.app import Request, Response

from chalicelib.http.operations import Answer


class Text:
    """A text as it is answered, and its version."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.etag = f'"{sha256(text.encode()).hexdigest()[:32]}"'


def answer(request: Request, made: Text, headers: Mapping[str, str], *, kept: str) -> Response:
    """Answer with a text, or with 304 to who has it; `kept` is its Cache-Control."""
    versions: dict[str, str | list[str]] = {"ETag": made.etag, "Cache-Control": kept}
    if made.etag in request.headers.get("If-None-Match", ""):
        return Response("", headers=versions, status_code=304)
    return Response(made.text, headers={**headers, **versions})


UNCHANGED = Answer("It is what If-None-Match names.", None, ("ETag",))
