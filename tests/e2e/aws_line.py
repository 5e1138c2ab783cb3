"""STAND-IN for the AWS command line: `python -m tests.e2e.aws_line sqs receive-message …`.

It knows what the runbook types: options by the names of a request's members, `file://`, `--query` and
`--output text`. Requests are checked against botocore's own description of the service.
"""

import json
import sys
from pathlib import Path
from typing import Any

import botocore.session
import jmespath  # type: ignore[import-untyped] # ships no types
from botocore import xform_name


def main(words: list[str]) -> int:
    """Carry out one request and print its answer."""
    service, operation, *rest = words
    client = botocore.session.get_session().create_client(service)
    try:
        method = operation.replace("-", "_")
        shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape
        members = {f"--{xform_name(name, '-')}": (name, each) for name, each in shape.members.items()}
        asked: dict[str, Any] = {}
        shown = {"--query": "@", "--output": "json"}
        while rest:
            option, *rest = rest
            values = [rest.pop(0) for _ in range(_count(rest))]
            if option in shown:
                [shown[option]] = values
            else:
                name, member = members[option]
                asked[name] = values if member.type_name == "list" else _value(values[0], member.type_name)
        answer = getattr(client, method)(**asked)
    finally:
        client.close()
    answer.pop("ResponseMetadata", None)
    found = jmespath.search(shown["--query"], answer)
    told = found if shown["--output"] == "text" else json.dumps(found, indent=4, default=str)
    sys.stdout.write(f"{told}\n")
    return 0


def _count(rest: list[str]) -> int:
    """Return how many values stand before the next option."""
    return next((place for place, word in enumerate(rest) if word.startswith("--")), len(rest))


def _value(text: str, kind: str) -> Any:
    if text.startswith("file://"):
        text = Path(text.removeprefix("file://")).read_text()
    return int(text) if kind == "integer" else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
