"""The command `amcl-serve`: one module a subcommand in amcl_serve.commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pydantic import ValidationError

import amcl_serve
from amcl_serve.commands import (
    doctor,
    duplicates,
    embed,
    evaluate,
    index,
    outliers,
    reindex,
    sample,
    search,
    serve,
    similarity,
)
from amcl_serve.errors import AmclError

COMMANDS = (serve, embed, similarity, index, search, duplicates, outliers, sample, reindex, evaluate, doctor)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run a subcommand; argparse exits with 2 where the usage is wrong."""
    words = sys.argv[1:] if argv is None else list(argv)
    return run_command(build_parser().parse_args(words, argparse.Namespace(words=words)))


def run_command(args: argparse.Namespace) -> int:
    """Run `args.run(args)`; the exit code is 1 for an error, told in one line, and 130 when interrupted."""
    try:
        code = args.run(args)
        assert isinstance(code, int)
    except AmclError as error:
        return _fail(error.detail)
    except ValidationError as error:
        return _fail("; ".join(_setting(first) for first in error.errors(include_url=False)))
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        return _fail("onnxruntime is not installed; pip install 'amcl-serve[cpu]', or [gpu]")
    except KeyboardInterrupt:
        return 130
    return code


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="amcl-serve", description="Serve, embed, compare and search images with a contrastive model."
    )
    parser.add_argument("--version", action="version", version=f"amcl-serve {amcl_serve.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def _fail(sentence: str) -> int:
    print(f"amcl-serve: error: {sentence}", file=sys.stderr)
    return 1


def _setting(error: object) -> str:
    assert isinstance(error, dict)
    name = str(error["loc"][0])  # the rest is a place in a list
    flag = "--" + name.replace("_", "-")
    return f"{flag} (AMCL_{name.upper()}): {error['msg']}, not {error['input']!r}"


if __name__ == "__main__":
    sys.exit(main())
