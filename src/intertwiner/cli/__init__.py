"""Floor 8: the command line. Nothing here imports torch before a command runs, so that ``--help`` is instant."""

from intertwiner.cli.app import main

__all__ = ["main"]
