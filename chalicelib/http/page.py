"""The description as one HTML page: escaped throughout, with no script and nothing from elsewhere."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1.5rem; }
h1 { margin-bottom: 0; } h2 { border-bottom: 1px solid #8886; margin-top: 3rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: #8881; border-radius: 6px; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; width: 100%; }
th, td { border-top: 1px solid #8884; padding: .3rem .75rem .3rem 0; text-align: left; vertical-align: top; }
details { border: 1px solid #8886; border-radius: 6px; margin: .75rem 0; padding: .5rem 1rem; }
summary { cursor: pointer; } summary code { font-weight: 600; }
.method { display: inline-block; min-width: 4.5rem; }
"""
POLICY = "; ".join(
    [
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a document that `openapi.describe` has made."""
    info, components = document["info"], document["components"]
    title = escape(info["title"])
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body><main>",
            f'<h1>{title}</h1><p>API version {escape(info["version"])}, <a href="openapi.json">OpenAPI</a></p>',
            _paragraphs(info["description"]),
            *(_tag(tag, document["paths"]) for tag in document["tags"]),
            "<h2>Schemas</h2>",
            *(_schema(name, shape) for name, shape in sorted(components["schemas"].items())),
            "<h2>Answers that many routes share</h2>",
            *(_response(name, answer) for name, answer in components["responses"].items()),
            "</main></body></html>",
        ]
    )


def _tag(tag: Mapping[str, str], paths: Mapping[str, Any]) -> str:
    rows = [
        _operation(method, path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    ]
    head = f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>"
    return head + "".join(rows)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary>',
        f'<code><span class="method">{method.upper()}</span> {escape(path)}</code> ',
        f"{escape(operation['summary'])}</summary>",
        _paragraphs(operation["description"]),
        _parameters(operation.get("parameters", [])),
        f"<h4>Body</h4>{_shape(body)}" if body is not None else "",
        "<h4>Answers</h4>",
        _table(("status", "what it is", "body"), map(_answer, operation["responses"].items())),
        "</details>",
    ]
    return "".join(parts)


def _parameters(parameters: list[Mapping[str, Any]]) -> str:
    rows = [
        (
            f"<code>{escape(each['name'])}</code>",
            escape(each["in"] + (", required" if each["required"] else "")),
            escape(each["description"]),
        )
        for each in parameters
    ]
    return f"<h4>Parameters</h4>{_table(('name', 'where', 'what it is'), rows)}" if rows else ""


def _answer(row: tuple[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    status, answer = row
    if "$ref" in answer:
        return escape(status), _link(answer["$ref"]), _link("#/components/schemas/Error")
    shapes = [_shape(content["schema"]) for content in answer.get("content", {}).values()]
    return escape(status), escape(answer["description"]), "".join(shapes)


def _response(name: str, answer: Mapping[str, Any]) -> str:
    examples = [_code(content["example"]) for content in answer["content"].values()]
    headers = ", ".join(answer.get("headers", {}))
    told = f"<p>{escape(answer['description'])}{f' Headers: {escape(headers)}.' if headers else ''}</p>"
    return _folded(name, told + "".join(examples))


def _schema(name: str, shape: Mapping[str, Any]) -> str:
    examples = "".join(f"<h4>Example</h4>{_code(example)}" for example in shape.get("examples", []))
    known = {key: value for key, value in shape.items() if key != "examples"}
    return _folded(name, f"{_fields(shape)}{examples}<h4>JSON Schema</h4>{_code(known)}")


def _folded(name: str, inside: str) -> str:
    """Return a named part of the page, opened by whoever wants to read it."""
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{inside}</details>'


def _fields(shape: Mapping[str, Any]) -> str:
    required = shape.get("required", [])
    rows = [
        (
            f"<code>{escape(name)}</code>{'' if name in required else ' (optional)'}",
            _shape(field),
            escape(field.get("description", "")),
        )
        for name, field in shape.get("properties", {}).items()
    ]
    return _table(("key", "value", "what it is"), rows) if rows else ""


def _shape(shape: Mapping[str, Any]) -> str:
    """Return a shape in a few words, with links to those that have a name."""
    if "$ref" in shape:
        return _link(shape["$ref"])
    for several in ("oneOf", "anyOf"):
        if several in shape:
            return " or ".join(_shape(each) for each in shape[several])
    if "enum" in shape:
        return ", ".join(f"<code>{escape(str(value))}</code>" for value in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {_shape(shape.get('items', {}))}"
    kind = shape.get("type", "any value")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    return escape(words + (f" ({shape['format']})" if "format" in shape else ""))


def _link(reference: str) -> str:
    name = escape(reference.rsplit("/", 1)[-1])
    return f'<a href="#{name}">{name}</a>'


def _code(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of cells that are HTML already."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
