"""Who may import whom: app → http, worker → wiring → service → jobtypes → domain, held at every import."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "chalicelib"
OURS = "chalicelib"

# What each part may import of ours, itself always included. A part without a row fails.
MAY_IMPORT: dict[str, set[str]] = {
    "app": {"http", "worker", "wiring", "service", "jobtypes", "domain", "settings"},
    "http": {"wiring", "service", "jobtypes", "domain", "settings"},
    "worker": {"wiring", "service", "jobtypes", "domain"},
    "wiring": {
        "service",
        "jobtypes",
        "domain",
        "settings",
        "adapters",
        "watching",
        "keeping",
        "telling",
    },
    "watching": {"service", "domain", "settings", "adapters"},
    "keeping": {"service", "domain", "adapters"},
    "adapters": {"domain", "settings", "providers", "aws", "observability", "system", "outlets", "teller"},
    "outlets": {"domain", "settings", "providers", "aws"},
    "telling": {"tracing", "adapters", "service", "domain", "settings"},
    "tracing": {"adapters", "service", "domain", "settings"},
    "teller": {"settings", "aws"},
    "service": {"jobtypes", "domain"},
    "jobtypes": {"domain"},
    "domain": set(),
    "providers": {"domain", "settings"},
    "aws": {"domain", "settings"},
    "settings": {"domain"},
    "observability": {"domain"},
    "system": {"domain"},
}
# Which packages from outside the standard library each part may import.
MAY_USE: dict[str, set[str]] = {
    "app": {"chalice"},
    "http": {"chalice", "jwt", "prometheus_client", "twilio"},
    "worker": set(),
    "wiring": set(),
    "watching": set(),
    "keeping": set(),
    "adapters": set(),
    "outlets": set(),
    "telling": set(),
    "tracing": {"opentelemetry"},
    "teller": set(),
    "service": {"jsonschema_rs", "cronsim"},
    "jobtypes": {"jinja2"},
    "domain": set(),
    "providers": {
        *("stripe", "twilio", "requests", "urllib3"),
        *("ssrfguard", "standardwebhooks", "cryptography", "solders"),
    },
    "aws": {"boto3", "botocore", "pynamodb"},
    "settings": set(),
    "observability": {"aws_lambda_powertools"},
    "system": set(),
}
HEAVY = {
    "prometheus_client",
    "stripe",
    "twilio",
    "jinja2",
    "requests",
    "cryptography",
    "ssrfguard",
    "standardwebhooks",
}  # imported where they are used, never at a module's top


def part_of(path: Path) -> str:
    """Return the part that a file belongs to."""
    if path.parent == ROOT:
        return path.stem
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def sources() -> list[Path]:
    """Return every file that deploys."""
    return [ROOT / "app.py", *sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")]


def imported(tree: ast.AST, path: Path) -> set[str]:
    """Return the modules that a tree imports, by their full names."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == OURS else {module}
    return names


def wrong_imports(path: Path, source: str) -> list[str]:
    """Return the imports of a file that its part may not have."""
    part = part_of(path)
    wrong = []
    for name in sorted(imported(ast.parse(source), path)):
        top, _, rest = name.partition(".")
        if top == OURS:
            allowed = rest.split(".")[0] in MAY_IMPORT[part] | {part}
        else:
            allowed = top in sys.stdlib_module_names or top in MAY_USE[part]
        if not allowed:
            wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    return wrong


def top_level(tree: ast.Module) -> ast.Module:
    """Return a module without what does not run when it is imported: functions, and what only types need."""

    class Outside(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.If | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else node

    stripped = Outside().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def test_every_part_has_its_rules() -> None:
    assert {part_of(path) for path in sources()} <= MAY_IMPORT.keys()
    assert MAY_IMPORT.keys() == MAY_USE.keys()


def test_nobody_imports_what_it_may_not() -> None:
    assert [wrong for path in sources() for wrong in wrong_imports(path, path.read_text())] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("domain/x.py", "import boto3"),
        ("domain/x.py", "from chalicelib.service.submit import Submit"),
        ("domain/x.py", "from chalicelib import settings"),
        ("service/x.py", "from chalicelib.aws import clients"),
        ("service/x.py", "def f():\n    from chalicelib.wiring import service"),
        ("service/x.py", "from chalice import Chalice"),
        ("jobtypes/x.py", "import chalicelib.providers.stripe_payments"),
        ("providers/x.py", "from chalicelib.service import submit"),
        ("aws/x.py", "from chalicelib.jobtypes import discover"),
        ("wiring.py", "from chalicelib.http.auth import authenticate"),
        ("http/x.py", "from chalicelib.aws.clients import Clients"),
        ("worker.py", "from chalicelib.http.views import view"),
    ],
)
def test_a_breach_is_seen(file: str, source: str) -> None:
    assert len(wrong_imports(PACKAGE / file, source)) == 1


def test_heavy_packages_are_imported_only_where_they_are_used() -> None:
    early = [
        f"{path.relative_to(ROOT)} imports {name} at its top"
        for path in sources()
        for name in imported(top_level(ast.parse(path.read_text())), path)
        if name.split(".")[0] in HEAVY
    ]
    assert early == []


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"))
        or (
            isinstance(node, ast.ImportFrom)
            and any(alias.name in ("environ", "getenv") for alias in node.names)
        )
    }
    assert readers == {"chalicelib/wiring.py"}  # which hands it to Settings.from_env


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_deployed_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
            assert node.end_lineno - node.lineno < 50, f"{node.name} is too long"
