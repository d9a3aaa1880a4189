"""`amcl-serve serve`: the HTTP server, one process."""

from __future__ import annotations

import argparse
import gc
import ipaddress
import logging
import math
import resource
import signal
import socket
import sys
from typing import TYPE_CHECKING

import amcl_serve
from amcl_serve.commands.options import add_settings, settings_from
from amcl_serve.errors import StartupError
from amcl_serve.http import logs
from amcl_serve.machine import free_large_blocks_at_once
from amcl_serve.settings import Settings

log = logging.getLogger("amcl_serve")

if TYPE_CHECKING:
    from fastapi import FastAPI

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]


def add_parser(subparsers: Subparsers) -> None:
    """Add `serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="run the HTTP server",
        description="Run the HTTP server until it is interrupted; SIGTERM lets the requests under way end first.",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve the API alone, without a page."""
    settings = settings_from(args)
    sock = listen(settings)  # before the imports and the model, which take seconds
    from amcl_serve.http.app import create_app

    return serve(create_app(settings), settings, sock)


def listen(settings: Settings) -> socket.socket:
    """Listen on the settings' host and port: clients wait from now on.

    StartupError where that cannot be done, because the port is taken for one.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError:
        raise StartupError(f"{host} is no address that this machine can listen on; see --host") from None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
        sock.listen(2048)  # two bound sockets could share the port; two that listen cannot
    except OSError as error:
        sock.close()
        raise StartupError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from None
    return sock


def serve(app: FastAPI, settings: Settings, sock: socket.socket) -> int:
    """Run `app` on a bound socket until a signal; StartupError out of its lifespan comes through as it is."""
    import uvicorn

    from amcl_serve.http.guards import refusal
    from amcl_serve.http.server import server_in

    logs.configure(settings)
    address = sock.getsockname()[0]
    if not server_in(app).keys and not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        log.warning("no key is set: whoever reaches %s port %d may read and write", address, settings.port)
    free_large_blocks_at_once()
    config = uvicorn.Config(
        app,
        http=refusal.protocol(app),
        ws="none",
        lifespan="off",  # entered by the server below, so that its error is one line and not uvicorn's traceback
        log_config=None,
        access_log=False,  # the application logs its requests itself
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.request_deadline),  # for clients that do not read or do not write
    )

    class Server(uvicorn.Server):
        lifespan_context = app.router.lifespan_context(app)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await self.lifespan_context.__aenter__()
            await super().startup(sockets)
            if self.started:
                print(f"amcl-serve {amcl_serve.__version__} is ready on {url(settings)}", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            server_in(app).stopping = True
            await super().shutdown(sockets)  # ends the requests under way
            await self.lifespan_context.__aexit__(None, None, None)

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # one is a connection; the usual 1024 are soon in use
    # uvicorn raises the signal again once all is closed; by default that would end the process before its own clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # By default a thread that wants the interpreter's lock from a busy one waits for 5 ms, at each of its turns: an
    # event loop that answers thousands of requests would hold up the workers, whose turns are short.
    sys.setswitchinterval(5e-5)
    gc.collect()
    gc.set_threshold(10_000)  # a thousand requests under way are no reason to look for garbage all the time
    gc.freeze()  # the modules and the application stay to the end; what is loaded from now on, the models first, may go
    with sock:
        Server(config).run([sock])
    return 0


def url(settings: Settings) -> str:
    """Where a browser on this machine finds the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
