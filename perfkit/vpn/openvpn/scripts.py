"""The scripts among OpenVPN's files on a host; POSIX sh, run in the folder of those files.

ROLE and BINARY stand for a host's role and for the program.
"""

from __future__ import annotations

from shlex import quote

from perfkit.model import Role
from perfkit.vpn.base import IMPLEMENTATION

_START = r"""#!/bin/sh
# Start OpenVPN in the background, unless it runs already.
if [ -e openvpn.pid ]; then
    read -r pid <openvpn.pid && grep -qs ROLE.conf "/proc/$pid/cmdline" && exit 0
    rm -f openvpn.pid  # what is written there from now on is about this start
fi
true >>../logs/openvpn.log >>../logs/openvpn-status.log  # the user's to read, whoever writes them
# A test that restarts OpenVPN loses no line from before; the first of two log options counts.
set -- ${PERFKIT_VPN_DIR:+--log-append ../logs/openvpn.log}
PATH=$PATH:/usr/sbin:/sbin
if said=$(BINARY --cd "$PWD" "$@" --config ROLE.conf --daemon 2>&1); then
    tries=0
    while [ ! -s openvpn.pid ] && [ $tries -lt 50 ]; do # written by the process in the background
        sleep 0.1
        tries=$((tries + 1))
    done
    # Whether the kernel carries the packets (DCO): OpenVPN says it where it does not, and why.
    said=$(sed -n '1,10s/.*OpenVPN \([0-9][0-9.]*[0-9]\) .*/version \1/p
/data channel offload/{s/.*Note: //;s/["\\]//g;s/\(.\{150\}\).*/\1/;s/^/why /p;}' ../logs/openvpn.log)
    version= why=
    while read -r what text; do
        case $what in version) version=${version:-$text} ;; why) why=${why:-$text} ;; esac
    done <<END
$said
END
    how="process: OpenVPN $version without DCO${why:+ ($why)}"
    if [ -z "$why" ] && grep -q '\[DCO\]' ../logs/openvpn.log && ! grep -q '^[[:space:]]*disable-dco' ROLE.conf
    then how="kernel: DCO of OpenVPN $version"
    fi
    [ -z "$version" ] || echo "$how" >IMPLEMENTATION
    exit 0
fi
{ tail -n 20 ../logs/openvpn.log; echo "$said"; } | grep -v 'Use --help' | tail -n 5 >&2
exit 1
"""
_STOP = r"""#!/bin/sh
# End OpenVPN and wait until it is gone, at most five seconds, then end it for good.
pid=$(cat openvpn.pid 2>/dev/null) && grep -qs ROLE.conf "/proc/$pid/cmdline" || exit 0
tries=0
# The first signal has it tell the other side, which it waits for; another one ends it at once.
while kill "$pid" 2>/dev/null && [ -d "/proc/$pid" ] && [ $tries -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
[ ! -d "/proc/$pid" ] || kill -KILL "$pid"
rm -f openvpn.pid IMPLEMENTATION
"""
# Its pid file is to lie where no file can be, which it notices when it has looked at everything
# else, and before it opens a socket or a device.
_CHECK = r"""#!/bin/sh
# Say whether OpenVPN would take the files in folder $1, and those here that are not in it.
PATH=$PATH:/usr/sbin:/sbin
command -v BINARY >/dev/null || { echo BINARY': there is no such program' >&2; exit 1; }
conf=$1/ROLE.conf
[ -f "$conf" ] || conf=ROLE.conf
log=$(mktemp) || exit
said=$(timeout 60 BINARY --log "$log" --cd "$PWD" --config "$conf" --writepid /dev/null/pid 2>&1)
said="$said
$(cat "$log")"
rm -f "$log"
case $said in *'--writepid fails with'*) reached=yes ;; *) reached= ;; esac
faults=$(printf '%s
' "$said" | grep -E 'rror|nsupported|[Cc]annot' |
    grep -v -e '--writepid fails with' -e 'Please correct these errors')
[ "$reached" ] && [ -z "$faults" ] && exit 0
printf '%s
' "${faults:-$said}" | grep . | tail -n 3 >&2
exit 1
"""


def scripts(role: Role, binary: str) -> tuple[str, str, str]:
    """The texts of `start`, `stop` and `check` for a host of this role."""
    start, stop, check = (
        text.replace("ROLE", str(role))
        .replace("IMPLEMENTATION", IMPLEMENTATION)
        .replace("BINARY", quote(binary))
        for text in (_START, _STOP, _CHECK)
    )
    return start, stop, check
