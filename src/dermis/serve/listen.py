"""From settings to a port that answers: one process, or several that share a socket and are replaced when they die."""

import os
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

from dermis.serve.log import log, logging_config
from dermis.serve.settings import Settings

FACTORY = "dermis.serve.app:create"
STOPPING = 15
"""seconds that answers may still take after SIGTERM"""


def listen(settings: Settings, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT; 0 after a graceful end, 1 if the workers could not start.

    Raises ValueError if the address cannot be listened at, or the model cannot be served.
    """
    bound = _bind(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}"
    options = {
        "log_config": logging_config(),
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": STOPPING,
        "timeout_keep_alive": 10,
        "h11_max_incomplete_event_size": 64 * 1024,
    }
    if settings.workers == 1:
        from dermis.serve.app import create

        server = uvicorn.Server(uvicorn.Config(create(settings), **options))
        _say(address, settings, host)
        server.run(sockets=[bound])
        return 0 if server.started else 1
    from dermis.serve.metrics import share_counts

    settings.to_environment()
    config = uvicorn.Config(FACTORY, factory=True, workers=settings.workers, **options)
    with share_counts():
        _say(address, settings, host)
        supervisor = Multiprocess(config, sockets=[bound])
        supervisor.run()
    failed = [process.exitcode for process in supervisor.processes if process.exitcode not in (0, -15, None)]
    return 1 if failed else 0


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen at {host}, port {port}: {error}.") from None
    bound.set_inheritable(True)
    return bound


def _say(address: str, settings: Settings, host: str) -> None:
    sys.stdout.write(f"dermis serves {settings.model} at {address} (process {os.getpid()})\n")
    sys.stdout.flush()
    if settings.token_file is None and host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("anybody who reaches this address may ask: there is no --token-file")
