"""Note each address that a process looks up or connects to. Python imports this module first if its folder is in PYTHONPATH.

The notes go to the file WATCHED_ADDRESSES, an event and an address a line. Forked and started processes are watched too.
"""

from __future__ import annotations

import os
import sys

_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg")
_NOTES = os.open(os.environ["WATCHED_ADDRESSES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _EVENTS:
        return
    # The address follows the socket, where there is one.
    host, port = (arguments[0], arguments[1]) if event == "socket.getaddrinfo" else (arguments[-1], None)
    if isinstance(host, tuple):
        host, port = host[0], host[1]
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    os.write(_NOTES, f"{event} {host} {port}\n".encode())


sys.addaudithook(_watch)
