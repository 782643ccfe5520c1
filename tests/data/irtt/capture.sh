#!/bin/sh
# How the logs beside this were made, with Debian 12's irtt 0.9.0 and iperf 2.1.8, on loopback.
cd "$(dirname "$0")" || exit
irtt server -b 127.0.0.1:5911 >/dev/null &
server=$!
iperf -s -p 5911 >/dev/null &
sink=$!
python3 drop_datagrams.py 5912 5911 &
relay=$!
sleep 1
irtt client -i 100ms -d 1s 127.0.0.1:5911 >plain.txt 2>&1
irtt client -i 50ms -d 2s --wait=1s -l 64 127.0.0.1:5912 >lossy.txt 2>&1
PERFKIT_PORT=5911 PERFKIT_DURATION_S=8 ../../../resources/tests/direct-latency 127.0.0.1 127.0.0.1 >latency.txt 2>&1
{
    echo "perfkit: phase=unloaded epoch=$(date +%s.%N) interval_s=0.05"
    irtt client -i 50ms -d 1s 127.0.0.1:5913 2>&1
} >refused.txt
{
    irtt client -i 20ms -d 10s 127.0.0.1:5911 2>&1 &
    client=$!
    sleep 2
    kill -KILL "$client"
} >killed.txt
kill "$server" "$sink" "$relay"
