"""What a new instance does before anything else: it arms its own end, and takes a known host key.

The *dead man* is the layer that works when the controller, its disk and the network are gone. It is
the first command of cloud-init's `bootcmd`, which runs early at *every* boot (`shutdown -P +120`
would be forgotten by a reboot): a loop that looks at the clock and powers the machine off at an
absolute moment, at once when that has passed. Powering off ends the instance, because it was
launched with InstanceInitiatedShutdownBehavior=terminate. `perfkit renew` writes a later moment
into EXPIRES_PATH. A host of an image that somebody made of another host has that one's moment there:
OWNER_PATH says whose it is, and another instance's is not taken.

The *host key* is a temporary one: a call makes many instances and gives all of them the same user
data, which on each of them every local user can read. So it serves for one login, in which the host
gets its own (`perfkit.ssh.first_login`); nothing is trusted on first use.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from datetime import datetime

from perfkit.errors import LaunchRefusedError
from perfkit.ssh.keys import SshKey

MAX_BYTES = 16_384  # EC2's limit, before base64
EXPIRES_PATH = "/etc/perfkit/expires"
WATCH_PATH = "/etc/perfkit/deadman"
OWNER_PATH = "/etc/perfkit/instance"
UNIT = "perfkit-deadman"
LOOK_EVERY_S = 10

# $1: the moment from the user data. The file wins over it: `perfkit renew` writes there.
_WATCH = f"""\
#!/bin/sh
while :; do
    expires=$(cat {EXPIRES_PATH} 2>/dev/null)
    case $expires in '' | *[!0-9]*) expires=$1 ;; esac
    if [ "$(date +%s)" -ge "$expires" ]; then
        shutdown -P now
        sleep 60
        poweroff -f
    fi
    sleep {LOOK_EVERY_S}
done
"""


def render(*, authorized_key: str, host_key: SshKey, expires_utc: datetime, user: str) -> str:
    """The user data of a batch: the same arguments give the same text, to the byte.

    Args:
        authorized_key: Public key of the run.
        host_key: What the batch's hosts show until their first login.
        user: Who logs in; `root` is let in on images where cloud-init would not.

    Raises:
        LaunchRefusedError: longer than EC2 takes.
    """
    config = {
        "bootcmd": [["sh", "-c", arm(expires_utc)]],
        "disable_root": user != "root",
        "ssh_authorized_keys": [authorized_key.strip()],
        "ssh_deletekeys": True,
        "ssh_keys": {
            "ed25519_private": host_key.private_openssh,
            "ed25519_public": host_key.public_openssh,
        },
        "ssh_pwauth": False,
    }
    # JSON is YAML: nothing has to be quoted by hand.
    text = f"#cloud-config\n{json.dumps(config, indent=1)}\n"
    size_bytes = len(text.encode())
    if size_bytes > MAX_BYTES:
        raise LaunchRefusedError(
            f"user data of {size_bytes} bytes; EC2 takes {MAX_BYTES}: is the run's public key one?"
        )
    return text


def arm(expires_utc: datetime) -> str:
    """The shell script that arms the dead man; run at every boot, it keeps a renewed moment."""
    moment = f"{expires_utc.timestamp():.0f}"
    return "\n".join(
        [
            "mkdir -p /etc/perfkit",
            # cloud-init tells bootcmd which instance this is.
            f'[ "$(cat {OWNER_PATH} 2>/dev/null)" = "${{INSTANCE_ID-}}" ] || rm -f {EXPIRES_PATH}',
            f'echo "${{INSTANCE_ID-}}" >{OWNER_PATH}',
            f"[ -s {EXPIRES_PATH} ] || echo {moment} >{EXPIRES_PATH}",
            f"printf %s {shlex.quote(_WATCH)} >{WATCH_PATH}",
            # This early systemd is there but takes no ordinary service yet.
            f"if ! systemd-run --quiet --no-block --collect --unit={UNIT} "
            f"--property=DefaultDependencies=no --property=Restart=always "
            f"/bin/sh {WATCH_PATH} {moment} 2>/dev/null; then",
            # No output may stay open: cloud-init waits until it is closed.
            f"    setsid /bin/sh {WATCH_PATH} {moment} </dev/null >/dev/null 2>&1 &",
            "fi",
        ]
    )


def renewal(expires_utc: datetime) -> str:
    """The shell script that moves a host's dead man; run as root.

    It fails where there is none: a host that would never end by itself must not look renewed.
    """
    moment = f"{expires_utc.timestamp():.0f}"
    return "\n".join(
        [
            "set -e",
            f"test -s {EXPIRES_PATH} && test -s {WATCH_PATH}",
            f"echo {moment} >{EXPIRES_PATH}.new",
            f"mv -f {EXPIRES_PATH}.new {EXPIRES_PATH}",
        ]
    )


def digest(text: str) -> str:
    """What goes into a client token for the user data."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
