"""The ``obskit`` command: a module a subcommand, each with ``add(subcommands)``."""
