"""Every module that enters instructions in the table: importing this one makes the table complete."""

from porting.emulators.ptx import barriers, transfers

__all__ = ["barriers", "transfers"]
