#!/bin/sh
# Capture what real WireGuard tools write: dumps of wg, the log of wireguard-go.
# Usage, as root, in an empty folder: sh capture.sh
# Server and clients are network namespaces of this script's own; nothing else is touched. The private
# keys are those of this capture and are used nowhere.
set -eu
export TZ=UTC LC_ALL=C LOG_LEVEL=verbose WG_PROCESS_FOREGROUND=1
umask 022
namespace() { # leaves the pid of a new network and mount namespace in $made
    unshare -nm sh -c 'mount -t tmpfs none /run; exec sleep 600' & made=$!
    while [ "$(readlink /proc/$made/ns/net)" = "$(readlink /proc/self/ns/net)" ] ||
        ! grep -q sleep /proc/$made/cmdline; do sleep 0.02; done
}
inside() { pid=$1; shift; nsenter -t "$pid" -n -m -- "$@"; }
exec_in() { pid=$1; shift; exec nsenter -t "$pid" -n -m -- "$@"; } # in the background: $! is it
all= programs=
for name in server one two; do
    namespace
    eval "$name=$made" all="'$all $made'"
    wg genkey >$name.key
    wg pubkey <$name.key >$name.pub
done
trap 'kill $programs $all' EXIT
number=1
inside "$server" ip link add br0 type bridge
inside "$server" ip addr add 10.77.0.1/24 dev br0
inside "$server" ip link set br0 up
for name in one two; do
    number=$((number + 1))
    eval "client=\$$name"
    inside "$server" ip link add v$number type veth peer name eth0 netns "$client"
    inside "$server" ip link set v$number master br0 up
    inside "$client" ip addr add 10.77.0.$number/24 dev eth0
    inside "$client" ip link set eth0 up
done
up() { # name pid address
    exec_in "$2" wireguard-go wg0 >>$1.log 2>&1 & programs="$programs $!"
    until inside "$2" test -S /run/wireguard/wg0.sock; do sleep 0.1; done
    inside "$2" wg setconf wg0 /proc/self/fd/0 <$1.conf
    inside "$2" ip addr add $3 dev wg0
    inside "$2" ip link set wg0 up
}
{
    printf '[Interface]\nListenPort = 1194\nPrivateKey = %s\n' "$(cat server.key)"
    printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.2/32\n' "$(cat one.pub)"
    printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.3/32, fd08::3/128\n' "$(cat two.pub)"
    printf '[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.4/32\n' "$(wg genkey | wg pubkey)"
} >server.conf
for name in one two; do
    printf '[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.0.0/20\n' \
        "$(cat $name.key)" "$(cat server.pub)" >$name.conf
    printf 'Endpoint = 10.77.0.1:1194\nPersistentKeepalive = 25\n' >>$name.conf
done
dump() { # without the private key
    inside "$server" wg show all dump | awk -F '\t' -v OFS='\t' 'NF == 5 { $2 = "(hidden)" } 1'
}
up one "$one" 10.8.0.2/20 # before its server is there: its first handshake fails
sleep 6
up server "$server" 10.8.0.1/20
sleep 6
up two "$two" 10.8.0.3/20
inside "$two" ping -q -c 20 -i 0.01 10.8.0.1
inside "$one" ping -q -c 20 -i 0.01 10.8.0.1
dump >dump.txt
sleep 135 # keys are two minutes old: they are renewed
inside "$one" ping -q -c 20 -i 0.01 10.8.0.1
dump >later.txt
kill $programs
programs=
sleep 1
