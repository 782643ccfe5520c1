#!/bin/sh
# Make the files of this folder: unshare --net sh capture.sh FOLDER IPERF LABEL
# IPERF is the program, LABEL begins the files' names. Traffic stays in the new namespace's loopback;
# each client has an address of its own there.
set -u
cd "${1:?an empty folder}" || exit 1
iperf=${2:?the iperf 2 to run}
label=${3:?its version}
ip link set lo up

run() { # run NAME SERVER-OPTIONS CLIENT-OPTIONS: three clients at once
    # shellcheck disable=SC2086  # options are words
    "$iperf" -s -y C $2 > "$label-$1.server.csv" 2>&1 & server=$!
    sleep 0.3
    clients=
    for i in 2 3 4; do
        # shellcheck disable=SC2086
        timeout 10 "$iperf" -c 127.0.0.1 -B 127.0.0.$i -y C $3 > "$label-$1.client-$i.csv" 2>&1 &
        clients="$clients $!"
    done
    # shellcheck disable=SC2086
    wait $clients
    sleep 0.3; kill -INT "$server"; sleep 0.3; kill "$server" 2> /dev/null; wait "$server" 2> /dev/null
}

run tcp "-i 1" "-i 1 -t 2"
run tcp-p2 "-i 1" "-i 1 -t 2 -P 2"
run tcp-no-intervals "" "-t 2 -P 2"
run udp "-u -i 1" "-u -i 1 -t 2 -b 500k"
run tcp-e "-e -i 1" "-e -i 1 -t 2 -P 2"
run udp-e "-e -u -i 1" "-e -u -i 1 -t 2 -b 500k"
TZ=Asia/Kolkata run tcp-e-kolkata "-e -i 1" "-e -i 1 -t 2"
"$iperf" -c 127.0.0.1 -y C > "$label-refused.client.csv" 2>&1
