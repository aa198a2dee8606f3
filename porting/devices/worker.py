"""The child process of a census: `python -m porting.devices.worker nvidia` answers in JSON on stdout.

Whatever the vendors' libraries print goes to stderr, so that the answer stands alone.
"""

import importlib
import json
import os
import sys
from dataclasses import asdict

from porting.devices.census import Census


def main(vendor: str) -> None:
    """Ask one vendor's drivers and write what they say."""
    channel = os.dup(1)
    os.dup2(2, 1)
    census: Census = importlib.import_module(f"porting.devices.{vendor}").take_census()
    devices = [{name: value for name, value in asdict(device).items() if name != "kind"} for device in census.devices]
    answer = {"devices": devices, "driver": census.driver, "note": census.note}
    with os.fdopen(channel, "w", encoding="utf-8") as out:
        json.dump(answer, out)


if __name__ == "__main__":
    main(sys.argv[1])
