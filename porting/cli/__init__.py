"""The command `worldport`: the only place that prints or ends the process."""

from porting.cli.app import main

__all__ = ["main"]
