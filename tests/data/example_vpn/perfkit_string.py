"""A VPN of one's own, as small as one can be: packets of a tun device in datagrams, in the clear.

Each client begins its datagrams with a word of its own, and the server listens to whoever knows a
word of the run's: which one, it can tell, because all are made from one secret. Nothing is encrypted:
it is an example of the contract in `perfkit.vpn.base`, for no other use.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from perfkit.errors import ConfigError
from perfkit.model import Host, Role
from perfkit.runs.folder import Run, write_atomic
from perfkit.vpn.base import CHECK, START, STOP, Changes, LastWords, Program, VpnTraits
from perfkit.vpn.plan import TunnelPlan

DEVICE = "string0"

_START = """#!/bin/sh
pid=$(cat string.pid 2>/dev/null) && grep -qs string.py "/proc/$pid/cmdline" && exit 0
rm -f string.pid
touch ../logs/string.log
PATH=$PATH:/usr/sbin:/sbin
said=$(python3 -c 'import ast; ast.parse(open("string.py").read()); open("string.conf").close()' 2>&1) || {
    echo "$said" | tail -n 3 >&2
    exit 1
}
setsid python3 string.py >>../logs/string.log 2>&1 </dev/null &
# Before it is the program itself, `stop` would take it for somebody else's process.
until grep -qs string.py "/proc/$!/cmdline" || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
echo $! >string.pid
"""
_STOP = """#!/bin/sh
pid=$(cat string.pid 2>/dev/null) && grep -qs string.py "/proc/$pid/cmdline" || exit 0
kill "$pid"
while [ -d "/proc/$pid" ]; do sleep 0.05; done
rm -f string.pid
"""
_CHECK = """#!/bin/sh
command -v python3 >/dev/null || { echo "python3 is not there" >&2; exit 1; }
conf=$1/string.conf
[ -f "$conf" ] || conf=string.conf
wrong=$(grep -Ev '^((server|port|device|role|address|secret|mtu)=.*)?$' "$conf") || exit 0
echo "string.conf: not known: $wrong" >&2
exit 1
"""
_SCRIPTS = {START: _START, STOP: _STOP, CHECK: _CHECK}
# What runs on a host: the folder's string.conf says how.
_PROGRAM = """
import fcntl, hashlib, os, select, socket, struct, subprocess
from pathlib import Path

conf = dict(line.split("=", 1) for line in Path("string.conf").read_text().split())
word = bytes.fromhex(Path("host.key").read_text())
secret = bytes.fromhex(conf.get("secret", ""))
is_server = conf["role"] == "server"
known = {hashlib.sha256(secret + bytes([n // 256, n % 256])).digest() for n in range(1, 1001)}
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", conf["device"].encode(), 0x1001))
for words in (f"addr add {conf['address']} dev {conf['device']}",
              f"link set {conf['device']} mtu {conf.get('mtu', 1300)} up"):
    subprocess.run(["ip", *words.split()], check=True)
family = socket.AF_INET6 if ":" in conf["server"] else socket.AF_INET
udp = socket.socket(family, socket.SOCK_DGRAM)
where, port = {}, int(conf["port"])
if is_server:
    udp.bind(("", port))
else:
    udp.connect((conf["server"], port))
print("up", flush=True)
while True:
    for ready in select.select([tun, udp], [], [])[0]:
        try:
            if ready == tun:
                packet = os.read(tun, 65535)
                if is_server and packet[16:20] in where:
                    udp.sendto(word + packet, where[packet[16:20]])
                elif not is_server:
                    udp.send(word + packet)
            else:
                data, sender = udp.recvfrom(65535)
                if is_server and data[:32] in known:
                    where[data[44:48]] = sender
                if not is_server or data[:32] in known:
                    os.write(tun, data[32:])
        except OSError as exc:
            print(exc, flush=True)
"""


class StringVpn:
    """See the module's docstring; `perfkit.vpn.base.Vpn` says what each member is for."""

    secrets: ClassVar[tuple[str, ...]] = (
        "keys/string.secret",
        "hosts/*/bundle/vpn/host.key",
        "hosts/server/bundle/vpn/string.conf",
    )
    programs = (Program(name="python3", apt="python3", dnf="python3"),)
    traits = VpnTraits(
        name="string",
        title="String",
        devices=dict.fromkeys(Role, DEVICE),
        single_core=True,
        logs=("string.log",),
        pid_file="vpn/string.pid",
        version_command=("python3", "-V"),
        secrets=secrets,
    )

    def __init__(self, resources_dir: Path, changes: Changes | None = None) -> None:
        changes = changes or Changes()
        self._resources_dir, self._changes = resources_dir, changes
        self._template = resources_dir / "string" / "string.conf"
        for role, options in changes.options.items():
            for name in options:
                if name != "mtu":
                    key = f"string.{role}.{name}"
                    raise ConfigError(changes.source, key, options[name], "unknown", "it has mtu")

    def changed(self, changes: Changes) -> StringVpn:
        return StringVpn(self._resources_dir, changes)

    def prepare(self, run: Run, plan: TunnelPlan) -> None:
        path = run.keys_dir / "string.secret"
        if not path.exists():
            write_atomic(path, secrets.token_hex(32).encode())
        self._secret, self._plan = path.read_text(), plan
        try:
            self._shared = string.Template(self._template.read_text()).substitute(
                server=plan.server_address, port=plan.port, device=DEVICE
            )
        except (OSError, KeyError, ValueError) as exc:
            raise ConfigError(
                str(self._template), "template", exc, "not usable", "restore it"
            ) from exc

    def files(self, host: Host, earlier: Path) -> Mapping[str, bytes]:
        del earlier  # all is made from the run's secret, so nothing needs to be kept
        is_server = host.role is Role.SERVER
        number = 0 if is_server else int(host.name.rpartition("-")[2])
        address = self._plan.network[1 + number]
        conf = (
            f"{self._shared}\nrole={host.role}\naddress={address}/{self._plan.network.prefixlen}\n"
        )
        if is_server:
            conf += f"secret={self._secret}\n"
        for name, value in self._changes.options.get(host.role, {}).items():
            conf += f"{name}={value}\n"
        python = self._changes.binary or "python3"
        word = hashlib.sha256(bytes.fromhex(self._secret) + number.to_bytes(2, "big")).hexdigest()
        texts = {
            **{name: text.replace("python3 ", f"{python} ") for name, text in _SCRIPTS.items()},
            "string.py": _PROGRAM,
            "string.conf": conf,
            "host.key": word,
        }
        return {name: text.encode() for name, text in texts.items()}

    def last_words(self, role: Role) -> LastWords:
        del role
        return LastWords(patterns=("Traceback", "CalledProcessError"), is_final=True)
