"""Accelerators of this host, as their drivers tell: which there are, or why there seem to be none.

Drivers hang, crash and lie, so they are asked in a child process with a time limit. Nothing here runs anything on a
device, and no answer is an error: a missing library is a reason why no device was found.
"""

from porting.devices.census import Census, FoundDevice, find_devices

__all__ = ["Census", "FoundDevice", "find_devices"]
