"""The VPN is one seam: what is particular to one is in its own folder, and in few named places."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Devices, files, programs and ciphers of the shipped VPNs; their names in prose are nobody's secret.
PARTICULAR = re.compile(
    r"\b(?:tun|tap|wg)\d|(?:openvpn|wireguard)[./-]|AES-\d|CHACHA20|data-ciphers|tls-crypt"
    r"|\bca\.key\b|\bwg (?:set|show)",
    re.IGNORECASE,
)
NAMED = re.compile(r"\b(?:openvpn|wireguard)\b")
SHIPPED_VPNS = ("openvpn", "wireguard")
OWN = tuple(f"{room}/{vpn}/" for room in ("perfkit/vpn", "resources") for vpn in SHIPPED_VPNS)
# Who must know, and why.
MAY_KNOW = {
    "perfkit/logs/openvpn/": "readers of its logs know its words",
    "perfkit/logs/wireguard/": "readers of its logs know its words",
    "perfkit/logs/frames.py": "names the module whose events a column holds",
    "perfkit/analysis/vpn.py": "names the module whose events it counts",
    "perfkit/runs/vpn_record.py": "runs made before their manifest named the VPN",
    "perfkit/runs/folder.py": "the layout names the logs of the shipped VPN",
    "perfkit/untrusted.py": "facts of runs made before; which keys may be there",
    "perfkit/needs.tsv": "what set-up installs and doctor asks for",
    "perfkit/testing/logtext.py": "synthetic logs are in somebody's form",
}
# Who may have the name as a word of code: a default, a folder of /etc that hosts do not see.
MAY_NAME = {
    *MAY_KNOW,
    "perfkit/settings/parameters.py",
    "perfkit/fleet/local/machine_view.py",
}
SHIPPED = sorted(
    path
    for folder in ("perfkit", "resources")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".sh", ".tsv", ".conf", ".ipynb", ""}
    and path.is_file()
    and "__pycache__" not in path.parts
)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_docstrings(path: Path) -> str:
    """A module's code without prose; any other file as it is."""
    text = path.read_text()
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            first.value = ast.Constant("")
    return ast.unparse(tree)


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_only_a_vpns_own_folder_knows_its_devices_files_and_ciphers(path: Path) -> None:
    name = name_of(path)
    if not name.startswith((*OWN, *MAY_KNOW)):
        assert PARTICULAR.findall(path.read_text()) == []
    if not name.startswith((*OWN, *MAY_NAME)):
        assert NAMED.findall(without_docstrings(path)) == []


def test_every_exception_is_still_needed() -> None:
    for name in MAY_NAME:
        texts = [path.read_text() for path in SHIPPED if name_of(path).startswith(name)]
        assert any(PARTICULAR.search(text) or NAMED.search(text) for text in texts), name
