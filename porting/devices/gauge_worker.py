"""The child process of a gauge: `python -m porting.devices.gauge_worker rapl` answers each line in JSON on stdout.

Whatever the vendors' libraries print goes to stderr, so that the answers stand alone.
"""

import importlib
import os
import sys

from porting.devices.gauge import encode


def main(reader: str) -> None:
    """Read one vendor's counters for every line on stdin, until it is closed."""
    channel = os.dup(1)
    os.dup2(2, 1)
    read = importlib.import_module(f"porting.devices.{reader}").open_reader()
    with os.fdopen(channel, "w", encoding="utf-8", buffering=1) as out:
        for _ in sys.stdin:
            out.write(encode(read()) + "\n")
            out.flush()


if __name__ == "__main__":
    main(sys.argv[1])
