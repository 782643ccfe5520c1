#!/bin/sh
# Make the logs of this folder with the iperf 2 that is installed: capture.sh FOLDER
# Traffic stays on the loopback interface; each client has an address of its own there.
set -u
cd "${1:?an empty folder}" || exit 1

start_server() { # start_server LOG OPTIONS...: sets $server
    log=$1; shift
    iperf -s "$@" > "$log" 2>&1 & server=$!
    sleep 0.5
}
stop_server() { kill -INT "$server"; sleep 0.5; kill -TERM "$server" 2> /dev/null; wait "$server"; }

start_server server.log -e -f b -i 1 -p 15001
all=""
for i in $(seq 1 12); do
    iperf -c 127.0.0.1 -B "127.0.1.$i" -p 15001 -e -f b -i 1 -t 3 -b 8m > "client-$i.log" 2>&1 &
    all="$all $!"
done
wait $all
iperf -c 127.0.0.1 -B 127.0.1.20 -p 15001 -e -f b -i 1 -t 2 -P 3 -b 4m > parallel-client.log 2>&1
iperf -c 127.0.0.1 -B 127.0.1.21 -p 15001 -e -f b -i 1 -t 2 -b 4m --full-duplex > fullduplex-client.log 2>&1
iperf -c 127.0.0.1 -B 127.0.1.22 -p 15001 -e -f b -i 1 -t 2 -b 4m -R > reverse-client.log 2>&1
iperf -c 127.0.0.1 -B 127.0.1.23 -p 15001 -e -f b -i 1 -t 8 -b 4m > killed-client.log 2>&1 & killed=$!
sleep 2.5; kill -KILL $killed; sleep 0.5
stop_server
iperf -c 127.0.0.1 -p 15009 -e -f b -i 1 -t 1 > refused-client.log 2>&1

# 110 clients at once, so ids of three digits; -f a chooses the unit of each figure
start_server many-server.log -f a -i 1 -p 15002
all=""
for i in $(seq 1 110); do
    iperf -c 127.0.0.1 -B "127.0.2.$i" -p 15002 -f a -t 1 -b 4m -l 16k > /dev/null 2>&1 &
    all="$all $!"
done
wait $all
stop_server

# iperf 2.1.8's UDP server dies of a segmentation fault when a client comes with -P 2
start_server udp-server.log -u -e -f m -i 1 -p 15003
iperf -c 127.0.0.1 -u -p 15003 -e -f m -i 1 -t 2 -b 3m > udp-client.log 2>&1
iperf -c 127.0.0.1 -u -p 15003 -f k -t 2 -b 300k -P 2 > udp-parallel-client.log 2>&1
stop_server

for unit in k m g K M G; do # small letters are bits, capitals bytes
    start_server "unit-$unit-server.log" -f $unit -p 15004
    iperf -c 127.0.0.1 -p 15004 -f $unit -t 1 -b 50m > "unit-$unit-client.log" 2>&1
    stop_server
done

start_server histograms-server.log -e -i 1 -p 15005 --histograms=100u,1000,5,95
iperf -c 127.0.0.1 -p 15005 -e -i 1 -t 2 -b 8m --trip-times --histograms > histograms-client.log 2>&1
iperf -c 127.0.0.1 -p 15005 -e -i 1 -t 2 --bounceback > bounceback-client.log 2>&1
iperf -c 127.0.0.1 -p 15005 -e -i 1 -t 2 -b 8m --trip-times --tcp-write-times > trip-client.log 2>&1
iperf -c 127.0.0.1 -p 15005 -e -i 1 -t 2 -b 8m -P 2 --sum-only > sumonly-client.log 2>&1
iperf -c 127.0.0.1 -p 15005 -e --connect-only=3 > connectonly-client.log 2>&1
iperf -c 127.0.0.1 -p 15005 -e -i 1 -t 2 --isochronous=20:4m,1m > isoch-client.log 2>&1
stop_server
start_server histograms-udp-server.log -u -e -i 1 -p 15006 --histograms
iperf -c 127.0.0.1 -u -p 15006 -e -i 1 -t 2 -b 2m --trip-times > /dev/null 2>&1
stop_server
