#!/bin/sh
# Capture what real OpenVPN writes: status files of versions 1, 2 and 3, client statistics, logs.
# Usage, as root, in an empty folder: sh capture.sh
# Server and clients are network namespaces of this script's own; nothing else is touched.
set -eu
export TZ=UTC LC_ALL=C
mkdir -p out pki

ca() { # name
    openssl ecparam -name prime256v1 -genkey -noout -out "pki/$1.key"
    openssl req -x509 -new -key "pki/$1.key" -subj "/CN=$1" -days 3 -out "pki/$1.crt"
}
cert() { # file, common name, usage, authority
    openssl ecparam -name prime256v1 -genkey -noout -out "pki/$1.key"
    openssl req -new -key "pki/$1.key" -subj "/CN=$2" -out "pki/$1.csr"
    printf 'extendedKeyUsage=%s\nkeyUsage=digitalSignature\n' "$3" >"pki/$1.ext"
    openssl x509 -req -in "pki/$1.csr" -CA "pki/$4.crt" -CAkey "pki/$4.key" -CAcreateserial \
        -days 3 -extfile "pki/$1.ext" -out "pki/$1.crt" 2>/dev/null
}
ca ca; ca stranger
cert server server serverAuth ca
cert foreign foreign clientAuth stranger
cert alpha client-001 clientAuth ca
cert comma "branch, office" clientAuth ca
cert six six.example.org clientAuth ca
openvpn --genkey secret pki/tls-crypt.key

namespace() { # leaves the pid of a new network namespace in $made
    unshare -n sleep 600 & made=$!
    while [ "$(readlink /proc/$made/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
}
inside() { pid=$1; shift; nsenter -t "$pid" -n -- "$@"; }
exec_in() { pid=$1; shift; exec nsenter -t "$pid" -n -- "$@"; }  # in the background: $! is it

namespace; hub=$made; all=$hub
inside "$hub" ip link set lo up
inside "$hub" ip link add br0 type bridge
inside "$hub" ip addr add 10.77.0.1/24 dev br0
inside "$hub" ip addr add fd77::1/64 dev br0 nodad
inside "$hub" ip link set br0 up
join() { # number: a host at 10.77.0.<n> and fd77::<n>
    namespace; all="$all $made"
    inside "$hub" ip link add "v$1" type veth peer name eth0 netns "$made"
    inside "$hub" ip link set "v$1" master br0 up
    inside "$made" ip addr add "10.77.0.$1/24" dev eth0
    inside "$made" ip addr add "fd77::$1/64" dev eth0 nodad
    inside "$made" ip link set lo up
    inside "$made" ip link set eth0 up
}
trap 'kill -9 $daemons $all 2>/dev/null || true' EXIT INT TERM
daemons=
serve() { # log, more options
    log=$1; shift
    exec_in "$hub" openvpn --dev tun0 --dev-type tun --topology subnet --server 10.8.0.0 255.255.255.0 \
        --server-ipv6 fd88::/64 --proto udp6 --port 1194 --duplicate-cn --max-clients 20 \
        --ca pki/ca.crt --cert pki/server.crt --key pki/server.key --dh none \
        --tls-crypt pki/tls-crypt.key --keepalive 1 5 --hand-window 8 --explicit-exit-notify 1 \
        --data-ciphers AES-256-GCM --persist-tun --persist-key --verb 3 \
        --log "out/$log" "$@" & server=$!
    daemons="$daemons $server"
}
connect() { # namespace, certificate, server address, log, more options
    where=$1 who=$2 to=$3 log=$4; shift 4
    exec_in "$where" openvpn --client --dev tun0 --dev-type tun --remote "$to" 1194 --nobind \
        --ca pki/ca.crt --cert "pki/$who.crt" --key "pki/$who.key" --tls-crypt pki/tls-crypt.key \
        --remote-cert-tls server --data-ciphers AES-256-GCM --verb 3 --connect-retry 1 2 \
        --tls-timeout 1 --log-append "out/$log" "$@" & client=$!
    daemons="$daemons $client"
}

join 2; a=$made; join 3; b=$made; join 4; c=$made; join 5; d=$made; join 6; e=$made

for version in 1 2 3; do
    serve "server-v$version.log" --status "out/status-v$version.txt" 1 --status-version $version
    sleep 1
    connect "$a" alpha 10.77.0.1 client-a.log --status out/client-statistics.txt 1 --proto udp4 --explicit-exit-notify 1; ka=$client
    connect "$b" alpha 10.77.0.1 client-b.log --proto udp4; kb=$client   # the same name a second time
    connect "$c" comma 10.77.0.1 client-c.log --proto udp4; kc=$client
    connect "$d" six fd77::1 client-d.log --proto udp6; kd=$client
    sleep 3
    inside "$a" ping -q -c 20 -i 0.05 -s 1000 10.8.0.1 >/dev/null
    inside "$d" ping -q -c 5 -i 0.05 10.8.0.1 >/dev/null
    # One that the server knows before it knows its name: the handshake never ends.
    connect "$e" alpha 10.77.0.1 client-foreign.log --proto udp4 --ca pki/stranger.crt; ke=$client
    sleep 2.5
    cp out/status-v$version.txt out/status-v$version.kept
    cp out/client-statistics.txt out/client-statistics.kept
    kill -9 "$kb"          # silent: the server's ping timer finds out
    kill -USR1 "$kc"       # restarts and comes again
    sleep 7
    kill -TERM "$ka"       # says goodbye
    sleep 1.5
    kill -TERM "$server"; wait "$server"
    kill -9 "$kc" "$kd" "$ke" 2>/dev/null || true
    sleep 0.3
done

# The other ways to print time, and refused passwords and certificates.
printf '#!/bin/sh\nexit 1\n' >refuse; chmod +x refuse
serve server-verb4.log --verb 4 --script-security 2 --auth-user-pass-verify "$PWD/refuse" via-env \
    --auth-user-pass-optional --max-clients 1
sleep 1
printf 'someone\nwrong\n' >password
connect "$a" alpha 10.77.0.1 client-refused.log --proto udp4 --auth-user-pass password --verb 4; ka=$client
connect "$b" foreign 10.77.0.1 client-unknown-ca.log --proto udp4; kb=$client
sleep 10
kill -TERM "$server"; wait "$server"
kill -9 "$ka" "$kb" 2>/dev/null || true
serve server-epoch.log --machine-readable-output
connect "$a" alpha 10.77.0.1 client-plain.log --proto udp4 --suppress-timestamps; ka=$client
sleep 3
kill -TERM "$ka"; sleep 1; kill -TERM "$server"; wait "$server"
# A client whose server is not there, over TCP, with its packets unsigned, and with a mistake.
connect "$c" comma 10.77.0.1 client-nobody.log --proto tcp4-client --connect-timeout 2 --connect-retry-max 1
sleep 4
inside "$c" openvpn --client --remote 10.77.0.1 --no-such-option >out/client-mistake.log 2>&1 || true
# Keys that are negotiated anew while the tunnel is up.
serve server-renegotiated.log --reneg-sec 3 0
sleep 1
connect "$a" alpha 10.77.0.1 client-renegotiated.log --proto udp4 --reneg-sec 0; ka=$client
sleep 9
kill -TERM "$ka"; sleep 1; kill -TERM "$server"; wait "$server"
# A letter for each packet (--verb 5), a status in the log (SIGUSR2), a client that comes again.
serve server-verb5.log --verb 5
sleep 1
connect "$a" alpha 10.77.0.1 client-verb5.log --proto udp4 --explicit-exit-notify 1; ka=$client
connect "$c" comma 10.77.0.1 client-verb5.log --proto udp4; kc=$client
sleep 3
inside "$a" ping -q -c 5 -i 0.05 10.8.0.1 >/dev/null
kill -USR1 "$kc"; kill -USR2 "$server"
sleep 3
inside "$a" ping -q -c 5 -i 0.05 10.8.0.1 >/dev/null
kill -TERM "$ka"; sleep 1; kill -TERM "$server"; wait "$server"
kill -9 "$kc" 2>/dev/null || true
