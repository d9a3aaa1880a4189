"""The subcommands of `amcl-serve`: each module has `add_parser(subparsers)`, which sets `run(args) -> int`."""
