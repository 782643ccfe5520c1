#!/bin/sh
# Capture a folder of logs in the 2011 layout, over loopback: sh capture.sh <folder>
# Run it in a network namespace of its own (unshare -n), with lo up. $DSTAT is how to run dstat 0.8.0.
set -eu
folder=$1; mkdir -p "$folder"; export TZ=UTC LC_ALL=C
iperf -s >/dev/null 2>&1 & tcp=$!
iperf -s -u >/dev/null 2>&1 & udp=$!
trap 'kill $tcp $udp' EXIT
sleep 0.5
$DSTAT -t -n -N lo -c -m -s --output "$folder/whole.csv" 1 12 >/dev/null 2>&1 & monitor=$!
sleep 2
one() { name=$1; shift; iperf -c 127.0.0.1 "$@" >"$folder/iperf-120s-$name" 2>&1 & clients="$clients $!"; }
clients=
one client-1 -t 4 -b 40M
one client-2 -t 4
one client-3 -t 4 -b 400K -l 1K
one client-4 -t 4 -b 20M -P 3
one client-5 -t 4 -b 30M -i 1
one client-6 -t 4 -b 10M -u
one client-7 -t 4 -p 5999
one client-8 -t 4 -b 12M -f m
one client-9 -t 4 -b 9M -P 101
for client in $clients; do wait "$client" || true; done
clients=
iperf -c 127.0.0.1 -t 2 >"$folder/iperf-60s-client-1" 2>&1
wait "$monitor"
