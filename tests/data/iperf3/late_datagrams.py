"""Relay for captures with datagrams out of order: late_datagrams.py LISTEN TARGET

Ports on 127.0.0.1; TCP passes, every tenth datagram goes after its successor. Run in a network
namespace of its own, client at LISTEN, server at TARGET; ended by a signal.
"""

import contextlib
import select
import socket
import sys

listen, target = (("127.0.0.1", int(port)) for port in sys.argv[1:3])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(listen)
tcp = socket.create_server(listen)
others: dict[socket.socket, socket.socket] = {}
onwards: dict[tuple[str, int], socket.socket] = {}
held: dict[tuple[str, int], bytes] = {}
count = 0
while True:
    for ready in select.select([udp, tcp, *others, *onwards.values()], [], [])[0]:
        if ready is tcp:
            near, far = tcp.accept()[0], socket.create_connection(target)
            others[near], others[far] = far, near
        elif ready is udp:
            data, peer = udp.recvfrom(65536)
            if peer not in onwards:
                onwards[peer] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                onwards[peer].connect(target)
            count += 1
            if count % 10 == 0 and len(data) > 100 and peer not in held:
                held[peer] = data
                continue
            onwards[peer].send(data)
            if peer in held:
                onwards[peer].send(held.pop(peer))
        elif ready in others:
            data = ready.recv(65536)
            if data:
                others[ready].sendall(data)
                continue
            other = others.pop(ready)
            others.pop(other, None)
            ready.close()
            other.close()
        else:
            peer = next(peer for peer, link in onwards.items() if link is ready)
            with contextlib.suppress(ConnectionRefusedError):
                udp.sendto(ready.recv(65536), peer)
