"""The deployed template as plain data."""

from functools import cache
from typing import Any

import yaml  # type: ignore[import-untyped] # ships no types

from local.stack import TEMPLATE


class _Loader(yaml.SafeLoader):  # type: ignore[misc] # its base is untyped
    """Reads CloudFormation's short forms: `!Ref X` is {"Ref": "X"}, all others are {"Fn::…": …}."""


def _short_form(loader: Any, suffix: str, node: Any) -> dict[str, Any]:
    name = suffix if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node)}
    return {name: loader.construct_scalar(node)}


_Loader.add_multi_constructor("!", _short_form)


@cache
def template() -> dict[str, Any]:
    """Return the template."""
    read: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - a SafeLoader
    return read


def table(logical: str) -> dict[str, Any]:
    """Return what CreateTable needs to make a table as the template says, but its name."""
    properties = template()["Resources"][logical]["Properties"]
    wanted = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in wanted if name in properties}
