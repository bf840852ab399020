"""The engine's default ports, and others that pages name, kept for them while tests run.

They lie in the range from which the kernel takes the local ports of outgoing connections: a
test beside can get 49134 for a connection of its own, and a closed one blocks it for a minute.
A socket that is bound but does not listen takes a port out of that choice, and a server that
asks for exactly this port (with `SO_REUSEADDR`, as all servers here do) gets it all the same.
"""

import socket
import time

DEFAULT_PORTS = (49134, 3111, 3112, 3113, 9464, 4318, 49135)
# A connection that was closed blocks its local port for 60 s on Linux.
WAIT_S = 75

_held: dict[int, socket.socket] = {}


def hold_default_ports() -> None:
    """Take the default ports out of the kernel's choice, for as long as this process lives."""
    for port in DEFAULT_PORTS:
        if port in _held:
            continue
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()  # whoever needs the port says so: `taken_default_ports`
        else:
            _held[port] = holder


def taken_default_ports(wait: float = WAIT_S) -> list[int]:
    """The default ports at which nobody can listen, also not after `wait` seconds."""
    until = time.monotonic() + wait
    while taken := [port for port in DEFAULT_PORTS if not _is_free(port)]:
        if time.monotonic() >= until or any(map(_answers, taken)):
            break
        time.sleep(0.5)
    hold_default_ports()
    return taken


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    """Whether somebody listens there: then waiting is of no use."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
