"""Room: how many connections a process may have, for descriptors to be left for Postgres, Redis and files.

    connections   beyond `connections_max()` whoever comes is answered 503 and cut off, whatever they ask
    sockets       live ones may be that many less SPARE: there is always room for requests beside them

Descriptors are the process's own limit (`ulimit -n`), which is raised as far as it goes when it starts.
"""

import resource
from functools import cache
from typing import Final

OWN: Final = 256  # pools, listeners, logs, files that are being served
SPARE: Final = 512


@cache
def connections_max() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(hard - OWN, OWN)


def sockets_max() -> int:
    return max(connections_max() - SPARE, connections_max() // 2)
