"""The scripts among WireGuard's files on a host; POSIX sh, run in the folder of those files.

ROLE, DEVICE and BINARY stand for a host's role, its device, and the program to use instead of the
kernel; empty: the kernel if it can, else wireguard-go.

What lies there besides: `interface` (address, address_6, mtu), `wireguard.conf` (for `wg`, without the private
key), `wireguard.key`; made on the host: `.made` (the device is ours), `.up` (all is done),
`implementation`, `wireguard.pid`, `sample.pid`.
"""

from __future__ import annotations

from shlex import quote

from perfkit.model import Role
from perfkit.vpn.base import IMPLEMENTATION

LOG, PEERS_LOG = "wireguard.log", "wireguard-peers.log"
SAMPLE = "sample"
IMPLEMENTATION_COMMAND = ("cat", f"../vpn/{IMPLEMENTATION}")
SAMPLE_EVERY_S = 5
# Where a kernel that has WireGuard shows it: loaded or built in, or there to be loaded.
KERNEL_MODULE = ("/sys/module/wireguard", "/lib/modules/{release}/kernel/drivers/net/wireguard")
MOST_LOG_BYTES = 4_000_000  # then it begins anew: every block of a campaign brings it home

# `wg` has been seen to hang on a machine under load: it has a limit, and is asked again.
_START = r"""#!/bin/sh
# Make WireGuard's device, in the kernel or by a program, unless it is there.
PATH=$PATH:/usr/sbin:/sbin
program=BINARY
export PERFKIT_WORKDIR="${PWD%/*}" # whoever cleans this host knows our processes by it
has_device() { [ -e /sys/class/net/DEVICE ]; }
if has_device; then
    [ ! -e .up ] || exit 0
    [ -e .made ] || { echo 'DEVICE is there already, and was not made by this run: remove it' >&2; exit 1; }
fi
./stop # what a start that was cut short has left
for log in LOG_FILE PEERS_FILE; do : >../logs/$log || exit; done
fail() {
    printf 'failed: %s\n' "$1" | tail -n 5 | tee -a ../logs/LOG_FILE >&2
    ./stop
    exit 1
}
for file in interface wireguard.conf wireguard.key; do
    [ -r $file ] || fail "$file is not here: configure this host"
done
address_6=
. ./interface
now=$(date +%s) # in whole seconds, as wireguard-go's own lines: a handshake is not before it
if [ -z "$program" ] && said=$(ip link add dev DEVICE type wireguard 2>&1); then
    : >.made
    release=$(uname -r)
    echo "kernel: WireGuard of Linux ${release%%[!0-9.]*}" >IMPLEMENTATION
else
    program=${program:-wireguard-go}
    command -v "$program" >/dev/null ||
        fail "the kernel makes no device of WireGuard (${said:-not asked}), and there is no $program"
    version=$("$program" --version 2>/dev/null | sed -n '1s/^[^ ]* v*//p')
    : >.made
    WG_PROCESS_FOREGROUND=1 LOG_LEVEL=verbose setsid "$program" DEVICE >>../logs/LOG_FILE 2>&1 </dev/null &
    echo $! >wireguard.pid
    tries=0
    until has_device && [ -S /var/run/wireguard/DEVICE.sock ]; do
        kill -0 $! 2>/dev/null || fail "$(tail -n 3 ../logs/LOG_FILE)"
        [ $tries -lt 200 ] || fail "$program has not made DEVICE in 20 s"
        sleep 0.1
        tries=$((tries + 1))
    done
    echo "process: ${program##*/} ${version:-of unknown version}" >IMPLEMENTATION
fi
set_up() { # the private key goes through a pipe, into no file but its own
    {
        printf '[Interface]\nPrivateKey = '
        cat wireguard.key wireguard.conf
    } | timeout -k 1 10 wg setconf DEVICE /proc/self/fd/0 2>&1
}
said=$(set_up) || said=$(set_up) || fail "wg setconf: ${said:-no answer in 10 s, twice}"
said=$({
    ip address add "$address" dev DEVICE &&
        { [ -z "$address_6" ] || ip address add "$address_6" dev DEVICE nodad; } &&
        ip link set dev DEVICE ${mtu:+mtu "$mtu"} up
} 2>&1) || fail "$said"
echo "# $now start $(cat IMPLEMENTATION)" >>../logs/LOG_FILE
echo "# $now peers of $(cat IMPLEMENTATION)" >>../logs/PEERS_FILE
if [ -r names ]; then
    tee -a ../logs/PEERS_FILE <names >>../logs/LOG_FILE
    setsid sh ./SAMPLE >/dev/null 2>&1 </dev/null &
    echo $! >sample.pid
fi
: >.up
"""
_STOP = r"""#!/bin/sh
# Take WireGuard's device away, if this run made it; return once it is gone.
PATH=$PATH:/usr/sbin:/sbin
rm -f .up
is() { pid=$(cat "$1" 2>/dev/null) && grep -qs "$2" "/proc/$pid/cmdline"; }
! is sample.pid SAMPLE || kill -TERM "-$pid" 2>/dev/null || kill -TERM "$pid"
if is wireguard.pid DEVICE; then
    kill -TERM "$pid"
    tries=0
    while [ -d "/proc/$pid" ] && [ $tries -lt 50 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid"
fi
if [ -e .made ]; then
    rm -f /var/run/wireguard/DEVICE.sock # it stays behind when the program was killed
    rmdir /var/run/wireguard 2>/dev/null
    tries=0
    while [ -e /sys/class/net/DEVICE ]; do
        ip link delete dev DEVICE 2>/dev/null || sleep 0.1
        [ $tries -lt 50 ] || { echo 'DEVICE cannot be removed' >&2; exit 1; }
        tries=$((tries + 1))
    done
fi
rm -f .made IMPLEMENTATION wireguard.pid sample.pid
exit 0
"""
# `wg` reads all of a file before it looks for the device, which is none here.
_CHECK = r"""#!/bin/sh
# Say whether WireGuard would take the files in folder $1, and those here that are not in it.
PATH=$PATH:/usr/sbin:/sbin
program=BINARY
command -v wg >/dev/null || { echo 'wg: there is no such program: install wireguard-tools' >&2; exit 1; }
if [ "$program" ]; then
    command -v "$program" >/dev/null || { echo "$program: there is no such program" >&2; exit 1; }
elif ! MODULE && ! command -v wireguard-go >/dev/null; then
    echo 'the kernel has no WireGuard, and there is no wireguard-go: install it' >&2
    exit 1
fi
conf=$1/wireguard.conf
[ -f "$conf" ] || conf=wireguard.conf
said=$(timeout -k 1 20 wg setconf perfkit-none "$conf" 2>&1)
case $said in *'nable to modify interface'*) exit 0 ;; esac
printf '%s\n' "${said:-wg says nothing}" | tail -n 3 >&2
exit 1
"""
_SAMPLE = r"""#!/bin/sh
# Every few seconds write what each peer has sent and received, and when it was heard last, until the
# device is gone. The form is that of `wg show all dump`, but for keys that nobody may see.
PATH=$PATH:/usr/sbin:/sbin
log=../logs/PEERS_FILE
while [ -e /sys/class/net/DEVICE ]; do
    dump=$(timeout -k 1 4 wg show DEVICE dump 2>/dev/null |
        awk -F '\t' -v OFS='\t' '{ $(NR == 1 ? 1 : 2) = "(hidden)"; print "DEVICE", $0 }')
    if [ "$dump" ]; then
        if [ "$(wc -c <$log)" -gt MOST ]; then { head -n 1 $log; cat names; } >.kept && cat .kept >$log; fi
        printf '# %s dump\n%s\n# end\n' "$(date +%s.%N)" "$dump" >>$log
    fi
    sleep EVERY
done
"""


def scripts(role: Role, device: str, binary: str) -> tuple[str, str, str, str]:
    """The texts of `start`, `stop`, `check` and `sample` for a host of this role."""
    places = [place.format(release="$(uname -r)") for place in KERNEL_MODULE]
    has_module = "{ " + " || ".join(f'[ -e "{place}" ]' for place in places) + "; }"
    words = {
        "MODULE": has_module,
        "ROLE": str(role),
        "DEVICE": device,
        "BINARY": quote(binary),
        "SAMPLE": SAMPLE,
        "LOG_FILE": LOG,
        "PEERS_FILE": PEERS_LOG,
        "IMPLEMENTATION": IMPLEMENTATION,
        "MOST": str(MOST_LOG_BYTES),
        "EVERY": str(SAMPLE_EVERY_S),
    }
    texts = []
    for text in (_START, _STOP, _CHECK, _SAMPLE):
        for word, value in words.items():
            text = text.replace(word, value)  # noqa: PLW2901 -- word by word
        texts.append(text)
    start, stop, check, sample = texts
    return start, stop, check, sample
