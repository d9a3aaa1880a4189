"""`python -m app`: the server of `amcl-serve serve`, with the page at `/`; the same flags and environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from amcl_serve.cli import run_command
from amcl_serve.commands.options import add_settings, settings_from
from amcl_serve.commands.serve import listen, serve
from amcl_serve.errors import StartupError


def build_parser() -> argparse.ArgumentParser:
    """The parser: every setting is a flag."""
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Run the HTTP server with the page at /, until it is interrupted.",
    )
    add_settings(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Serve the API and the page from one process."""
    settings = settings_from(args)
    sock = listen(settings)  # before the imports and the model, which take seconds
    from amcl_serve.http.app import create_app

    try:
        from app.mount import mount
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise StartupError("the page needs gradio; pip install 'amcl-serve[demo]', or run amcl-serve serve") from None
    return serve(mount(create_app(settings, index=False), settings), settings, sock)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; exit codes as of `amcl-serve`."""
    return run_command(build_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
