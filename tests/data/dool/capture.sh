#!/bin/sh
# Make the files of this folder with the dool that is installed: unshare -n -u capture.sh FOLDER
# In a network namespace of its own: eth0 and tun0 are the two ends of one pair there.
set -u
cd "${1:?an empty folder}" || exit 1
hostname server
ip link add eth0 type veth peer name tun0
ip addr add 10.77.0.1/24 dev eth0; ip addr add 10.8.0.1/24 dev tun0
ip link set lo up; ip link set eth0 up; ip link set tun0 up
ip neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev eth0
ping -q -i 0.05 -s 1000 10.77.0.9 > /dev/null 2>&1 & ping=$! # 18 packets of 1042 bytes a second

dool --epoch --bytes --cpu --mem --net -N eth0,tun0 --output monitor.csv 1 6 > /dev/null
dool --epoch --cpu --mem --net -N eth0,tun0 --output bits.csv 1 4 > /dev/null
cp monitor.csv appended.csv # dool appends to a file that is there
dool --epoch --bytes --cpu --disk -D total --net -N eth0 --output appended.csv 1 3 > /dev/null
dool --epoch --bytes --cpu --mem --net -N eth0,tun0 --output missed.csv 1 12 > /dev/null & dool=$!
sleep 4.6; kill -STOP $dool; sleep 3.2; kill -CONT $dool; wait $dool
dool --time --bytes --cpu -C 0,1,total --net -N eth0 --output printed-time.csv 1 4 > /dev/null
kill $ping
