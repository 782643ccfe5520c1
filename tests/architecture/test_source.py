"""The shape of the code: small modules, small functions, plain packages, nothing dangerous."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from perfkit.fleet.provider import Traits

ROOT = Path(__file__).parents[2]
PACKAGE = sorted((ROOT / "perfkit").rglob("*.py"))
SHIPPED = [*PACKAGE, *sorted((ROOT / "resources").rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "handler", "misc"}
BANNED_IMPORTS = {"pickle", "marshal", "shelve", "dill", "telnetlib"}
BANNED_ATTRIBUTES = {
    "AutoAddPolicy": "an unknown host key is accepted",
    "WarningPolicy": "an unknown host key is accepted",
    "yaml.load": "yaml.safe_load makes no objects",
    "tarfile.extract": "members may leave the folder",
    "extractall": "members may leave the folder",
    "os.system": "a shell",
    "os.popen": "a shell",
}
BANNED_ARGUMENTS = {("shell", True), ("verify", False), ("check_hostname", False)}
BANNED_STRINGS = ("0.0.0.0/0", "::/0", "StrictHostKeyChecking=no", "StrictHostKeyChecking no")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(tree: ast.AST) -> set[int]:
    """Identities of the constants that are docstrings."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, holders) and node.body]
    first = [body[0].value for body in bodies if isinstance(body[0], ast.Expr)]
    return {id(value) for value in first}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What the ban list finds in a module, with its line."""
    text = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = {module or alias.name for alias in node.names}
            yield from (f"{node.lineno}: import {n}" for n in names & BANNED_IMPORTS)
        elif isinstance(node, ast.Attribute | ast.Name):
            written = ast.unparse(node)
            for banned in BANNED_ATTRIBUTES:
                if written == banned or written.endswith(f".{banned}"):
                    yield f"{node.lineno}: {banned}"
        elif isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
            if (node.arg, node.value.value) in BANNED_ARGUMENTS:
                yield f"{node.lineno}: {node.arg}={node.value.value}"
        elif isinstance(node, ast.Constant) and id(node) not in text:
            value = node.value if isinstance(node.value, str) else ""
            yield from (f"{node.lineno}: {s!r}" for s in BANNED_STRINGS if s in value)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "run(x, shell=True)",
        "get(url, verify=False)",
        "client.set_missing_host_key_policy(paramiko.AutoAddPolicy())",
        "yaml.load(text)",
        "archive.extractall(folder)",
        "rule = '0.0.0.0/0'",
    ],
)
def test_the_ban_list_bites(code: str) -> None:
    assert list(dangers(ast.parse(code)))


def test_the_ban_list_leaves_talk_about_it_alone() -> None:
    assert list(dangers(ast.parse('"""Never 0.0.0.0/0; errors survive pickle."""'))) == []


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_nothing_on_the_ban_list_is_used(path: Path) -> None:
    assert list(dangers(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_a_module_is_small_enough_to_be_read_at_once(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < MAX_MODULE_LINES


@pytest.mark.parametrize("path", [*SHIPPED, *TESTS], ids=name_of)
def test_a_function_is_small_enough_to_be_seen_at_once(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    length = {f.name: (f.end_lineno or f.lineno) - f.lineno + 1 for f in functions}
    assert {name: n for name, n in length.items() if n >= MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize(
    "path", [p for p in PACKAGE if p.name == "__init__.py"], ids=lambda p: p.parent.name
)
def test_a_package_is_its_docstring(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert ast.get_docstring(ast.Module(body=body, type_ignores=[]))
    rest = [ast.unparse(node).partition(" = ")[0] for node in body[1:]]
    assert rest == (["__version__"] if path.parent.name == "perfkit" else [])


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE}
    assert [f for f in folders if not (f / "__init__.py").is_file()] == []


def test_no_module_is_named_after_nothing() -> None:
    assert [name_of(p) for p in PACKAGE if p.stem.strip("_") in BANNED_NAMES] == []


def same_names(modules: Mapping[str, str]) -> dict[str, list[str]]:
    """Public classes of modules (name -> source) that two modules define: class -> modules."""
    places: dict[str, list[str]] = {}
    for module, source in modules.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module)
    return {name: found for name, found in places.items() if len(found) > 1}


def test_a_class_name_stands_for_one_thing_in_the_package() -> None:
    nested = "class B:\n    class A: ..."
    assert same_names({"x": "class A: ...", "y": nested, "z": "class A: ..."}) == {"A": ["x", "z"]}
    assert same_names({"x": "class _A: ...", "y": "class _A: ..."}) == {}

    found = same_names({name_of(path): path.read_text() for path in PACKAGE})
    # The lines of an SSH configuration and the widget of a notebook: the SSH room renames its own.
    assert found.keys() <= {"Link"}, f"give one of each its own name: {found}"


def private_reaches(source: str) -> list[int]:
    """Lines of a test that reach into what is private to something else, without saying why.

    The reason stands in the line or in the one above it, as `# private: why`.
    """
    lines, found = source.split("\n"), list[int]()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            names = [] if own or ast.unparse(node) == "os._exit" else [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
            names = [c.rsplit(".", 1)[-1] for c in constants[:1] if isinstance(c, str)]
        is_private = any(n.startswith("_") and not n.endswith("_") for n in names)
        if is_private and not any("# private: " in x for x in lines[node.lineno - 2 : node.lineno]):
            found.append(node.lineno)
    return sorted(set(found))


def test_tests_use_the_public_door_or_say_why_they_do_not() -> None:
    assert private_reaches("run()\nfleet._probe = None") == [2]
    assert private_reaches('run()\npatch.setattr(parallel, "_CHUNK", 1)') == [2]
    assert private_reaches("# private: no SSH there\nfleet._probe = None") == []
    assert private_reaches("self._link = page._repr_html_()") == []
    found = {name_of(path): private_reaches(path.read_text()) for path in TESTS}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_nothing_is_left_to_do_later() -> None:
    later = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [name_of(p) for p in [*SHIPPED, *TESTS] if later.search(p.read_text())] == []


def test_every_ignored_check_says_why() -> None:
    ignored = re.compile(r"# (?:noqa|type: ignore)\S*(?: [A-Z]+[0-9]+)?(?P<why>.*)")
    bare = [
        f"{name_of(path)}:{number}"
        for path in SHIPPED
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if (found := ignored.search(line)) and not re.search(r"\w+ \w+", found["why"])
    ]
    assert bare == []


def test_parsers_do_not_know_each_other() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for path in PACKAGE
        if "logs" in path.parts
    }
    parsers = {
        name
        for name, tree in modules.items()
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if ast.unparse(target) == "FORMAT"
    }
    families = {name.rpartition(".")[0] for name in parsers} - {"perfkit.logs"}
    assert {"perfkit.logs.iperf2.text", "perfkit.logs.dstat.csv"} <= parsers
    for name, tree in modules.items():
        own = next((it for it in families if name.startswith(f"{it}.")), None)
        imported = {
            node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
        }
        if name in parsers:
            assert imported & parsers == set(), name
        if own:
            others = tuple(f"{it}." for it in families - {own})
            assert [it for it in imported if it.startswith(others)] == [], name


def test_whatever_a_provider_says_of_its_hosts_is_asked_by_somebody() -> None:
    asked = {
        node.attr
        for path in PACKAGE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("traits")
    }
    assert {field.name for field in dataclasses.fields(Traits)} - asked == set()
