# What perfkit does on machines that hosts are packed onto, and on their server. POSIX sh, run as root:
#
#   look ADDRESS...              what hosts need of it, as key=value lines; changes nothing. ADDRESS:
#                                of the machines that it must reach
#   use SENT                     have what was sent to this folder used from now on
#   forward                      let it forward what its hosts send and get
#   route PREFIX GATEWAY...      reach the hosts of other machines through these
#   stop                         end the hosts that are here, undo the others; says what is left
#
# All but `look` run in WORKDIR/packed, where the file `run` names the run. What was changed is in
# files there before it is changed: `forward` holds what was set before, `routes` a line for each.
# Routes carry a number of perfkit's own as their protocol, see /etc/iproute2/rt_protos.
set -u
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin
LC_ALL=C
export PATH LC_ALL
protocol=112
forwarding=/proc/sys/net/ipv4/ip_forward

verb=$1
shift

look() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        echo "python=$(python3 -V 2>&1 | head -n 1)"
    for tool in sshd cron tini ip; do
        command -v "$tool" >/dev/null || echo "lacks=$tool"
    done
    said=$(unshare --user --mount --net --pid --fork true 2>&1) || echo "namespaces=$said" | head -n 1
    sed -n 's/^MemAvailable: *\([0-9]*\) kB$/free_kib=\1/p' /proc/meminfo
    ip -4 -o route show table all | grep -vw "proto $protocol" | while read -r kind prefix _; do
        case $kind in [0-9]* | default) prefix=$kind ;; esac # else a word comes first: local, blackhole
        echo "route=$prefix"
    done
    [ "$(cat $forwarding)" = 1 ] || [ -w $forwarding ] || echo "fixed=$forwarding"
    pings=$(command -v ping) || echo "unable=ping"
    for address in "$@"; do
        way=$(ip -4 -o route get "$address" 2>&1 | head -n 1)
        case $way in
            *" via "* | RTNETLINK* | Error*) echo "far=$way" ;;
            *) [ -z "$pings" ] || ping -n -c 3 -i 0.2 -W 2 "$address" >/dev/null 2>&1 || echo "silent=$address" ;;
        esac
    done
}

use() { # links, so that all is there at every moment, whatever is running
    for thing in "$1"/*; do
        name=${thing##*/}
        ln -sfn "$thing" next && mv -T next "$name" || exit 1
    done
}

forward() {
    [ -s forward ] || cat $forwarding >forward || exit 1
    [ "$(cat $forwarding)" = 1 ] || echo 1 >$forwarding
}

route() {
    while [ $# -gt 1 ]; do
        grep -qsxF "$1 $2" routes || echo "$1 $2" >>routes || exit 1
        how=add # nobody else's is replaced
        [ -z "$(ip -4 route show exact "$1" proto $protocol)" ] || how=replace
        ip -4 route $how "$1" via "$2" proto $protocol || exit 1
        shift 2
    done
}

stop() {
    status=0
    if [ -e forward ] && [ -d perfkit ]; then # else it has made no host
        python3 -m perfkit.fleet.packed.on_machine end "$(cat run)" || status=1
    fi
    [ ! -e routes ] || while read -r prefix _; do
        ip -4 route del "$prefix" proto $protocol 2>/dev/null
        [ -z "$(ip -4 route show exact "$prefix" proto $protocol)" ] || {
            echo "left=route to $prefix"
            status=1
        }
    done <routes
    if [ -s forward ] && [ "$(cat forward)" != "$(cat $forwarding)" ] && ! cat forward >$forwarding; then
        echo "left=$forwarding, which was $(cat forward)"
        status=1
    fi
    exit $status
}

case $verb in
    look | use | forward | route | stop) "$verb" "$@" ;;
    *) echo "unknown=$verb"; exit 2 ;;
esac
