#!/bin/sh
# Make the logs of this folder: unshare --net --uts sh capture.sh FOLDER IPERF3 LABEL
# IPERF3 is the program, LABEL begins the files' names. Traffic stays in the new namespace's loopback.
set -u
cd "${1:?an empty folder}" || exit 1
iperf3=${2:?the iperf3 to run}
label=${3:?its version}
hostname host
ip link set lo up

run() { # run NAME SERVER-OPTIONS CLIENT-OPTIONS: one test, both ends' logs
    name=$label-$1
    # shellcheck disable=SC2086  # options are words
    "$iperf3" -s -1 $2 > "$name.server" 2>&1 & server=$!
    sleep 0.3
    # shellcheck disable=SC2086
    timeout 15 "$iperf3" -c 127.0.0.1 $3 > "$name.client" 2>&1
    sleep 0.5; kill "$server" 2> /dev/null; wait "$server" 2> /dev/null
}

for kind in json text; do
    case $kind in json) j=-J ;; *) j= ;; esac
    run $kind-tcp "$j" "$j -t 3 -b 40M"
    run $kind-p2 "$j" "$j -t 2 -b 20M -P 2"
    run $kind-reverse "$j" "$j -t 2 -b 40M -R"
    run $kind-udp "$j" "$j -t 2 -u -b 5M"
    run $kind-udp-p2 "$j" "$j -t 2 -u -b 5M -P 2"
    run $kind-bidir "$j" "$j -t 2 -b 40M --bidir"
    run $kind-bidir-p2 "$j" "$j -t 2 -b 20M --bidir -P 2"
    run $kind-udp-bidir "$j" "$j -t 2 -u -b 5M --bidir"
    run $kind-omit "$j" "$j -t 2 -O 1 -b 40M"
    run $kind-get-server-output "$j" "$j -t 2 -b 40M --get-server-output"
    "$iperf3" -c 127.0.0.1 $j > "$label-$kind-refused.client" 2>&1
done
run text-verbose "-V" "-V -t 2 -b 40M"
run text-timestamps "--timestamps" "--timestamps -t 2 -b 40M"
run text-bytes "-f K" "-f K -t 2 -b 40M"
run text-verbose-udp-bidir "-V" "-V -t 2 -u -b 5M -P 2 --bidir"
run text-verbose-bidir-omit "-V" "-V -t 2 -b 40M --bidir -P 2 -O 1"
run text-debug "-d" "-d -t 1 -b 40M"
run text-title-p2 "" "-T two\\ -t 2 -b 40M -P 2"
run text-title-verbose-bidir "-V" "-T title -V -t 2 -b 40M -P 2 --bidir"
run text-timestamps-title "" "-T a --timestamps -t 2 -b 40M"
run text-timestamps-epoch "--timestamps=%s" "-t 2 -b 4M"
run stream-tcp "--json-stream" "--json-stream -t 2 -b 40M"
run stream-bidir "--json-stream" "--json-stream -t 2 -b 40M --bidir"
run stream-full "--json-stream --json-stream-full-output" "--json-stream -t 2 -b 40M"

nft add table inet loss
nft add chain inet loss in '{ type filter hook input priority 0; }'
nft add rule inet loss in udp dport 5201 udp length 1000-65535 numgen random mod 20 0 drop
for kind in json text; do
    case $kind in json) j=-J ;; *) j= ;; esac
    run $kind-udp-loss "$j" "$j -t 2 -u -b 20M -P 2 -l 1400"
done
nft flush chain inet loss in
nft add rule inet loss in udp dport 5201 udp length 1000-65535 drop
for kind in json text; do
    case $kind in json) j=-J ;; *) j= ;; esac
    run $kind-udp-all-lost "$j" "$j -t 2 -u -b 2M -P 2 -l 1400"
done
nft delete table inet loss

for kind in json text; do # one server for several tests; the last one's client is interrupted
    case $kind in json) j=-J ;; *) j= ;; esac
    "$iperf3" -s $j > "$label-$kind-many.server" 2>&1 & server=$!
    sleep 0.3
    "$iperf3" -c 127.0.0.1 -t 2 -b 40M > /dev/null
    "$iperf3" -c 127.0.0.1 -t 2 -b 5M -u > /dev/null
    "$iperf3" -c 127.0.0.1 -t 2 -b 20M -R -P 2 > /dev/null
    "$iperf3" -c 127.0.0.1 $j -t 9 -b 40M > "$label-$kind-interrupted.client" 2>&1 & client=$!
    sleep 2.5
    "$iperf3" -c 127.0.0.1 $j -t 1 > "$label-$kind-busy.client" 2>&1
    kill -INT "$client"; wait "$client"
    sleep 0.3; kill -INT "$server"; wait "$server"
    "$iperf3" -s $j > /dev/null 2>&1 & server=$! # and here the server is
    sleep 0.3
    "$iperf3" -c 127.0.0.1 $j -t 9 -b 40M > "$label-$kind-deserted.client" 2>&1 & client=$!
    sleep 2.5; kill -INT "$server"; wait "$server"; wait "$client"
done
