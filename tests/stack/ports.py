"""Ports of loopback for what cannot be given a socket that is open already."""

import os
import random
import socket
from contextlib import suppress

#: Below those that systems give to connections, of which the programs of a test make many. A share of them by this process's
#: id, for several run tests side by side.
_SHARE = range(16384 + os.getpid() % 16, 32768, 16)
_given = set()


def free_port():
    """A port that nobody listens on, and that no connection is given before who asked for it listens; no port twice."""
    for port in random.sample(_SHARE, len(_SHARE)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
    msg = "no port is free"
    raise OSError(msg)
