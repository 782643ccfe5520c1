"""drop_datagrams.py LISTEN SERVE: a UDP relay on loopback that drops every seventh datagram to the server."""

import selectors
import socket
import sys

listen, serve = (("127.0.0.1", int(port)) for port in sys.argv[1:])
inside, outside = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
inside.bind(listen)
outside.connect(serve)
selector = selectors.DefaultSelector()
selector.register(inside, selectors.EVENT_READ)
selector.register(outside, selectors.EVENT_READ)
client, count = None, 0
while True:
    for key, _ in selector.select():
        if key.fileobj is inside:
            data, client = inside.recvfrom(65536)
            count += 1
            if count % 7:
                outside.send(data)
        elif client:
            inside.sendto(outside.recv(65536), client)
