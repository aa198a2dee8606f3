"""The stages that are only run when asked for: a long rollout, and several sessions on one device.

Both add to the throughput evidence of a target, and go with it when it is measured anew.
"""

from functools import partial
from pathlib import Path

from porting import throughput
from porting.errors import UsageError
from porting.pipeline.compiling import change_target
from porting.pipeline.measuring import Session, port_driver
from porting.pipeline.workshop import Stage, Update
from porting.record import Concurrency, PortRecord, Soak


def plan_soak(session: Session, frames: int) -> Stage:
    """Drive the port for that many frames, and see whether the last costs what an early one did."""

    def work(folder: Path) -> Update:
        driver = port_driver(session)
        instruments = throughput.instruments_for(session.record.profile.device.kind)
        found = throughput.measure_soak(session.program, driver, session.read_trace(), frames, instruments)
        return partial(_add, target=session.target, name="soak", found=found)

    return Stage(
        name=f"soak {session.target}",
        inputs={**session.inputs(), "frames": frames},
        work=work,
        after=(f"throughput {session.target}",),
        clear=partial(_clear, target=session.target, name="soak"),
    )


def plan_sessions(session: Session, most: int) -> Stage:
    """Find how many sessions, up to `most`, hold the profile's rate on one device."""

    def work(folder: Path) -> Update:
        budget, driver = session.record.profile.throughput, port_driver(session)
        instruments = throughput.instruments_for(session.record.profile.device.kind)
        found = throughput.measure_sessions(session.program, driver, session.read_trace(), budget, most, instruments)
        return partial(_add, target=session.target, name="concurrency", found=found)

    return Stage(
        name=f"sessions {session.target}",
        inputs={**session.inputs(), "most": most},
        work=work,
        after=(f"throughput {session.target}",),
        clear=partial(_clear, target=session.target, name="concurrency"),
    )


def _add(record: PortRecord, target: str, name: str, found: Soak | Concurrency) -> PortRecord:
    timed = record.targets[target].throughput
    if timed is None:
        raise UsageError(f"{target}: its throughput was not measured; run worldport bench again")
    return change_target(target, {"throughput": timed.model_copy(update={name: found})})(record)


def _clear(record: PortRecord, target: str, name: str) -> PortRecord:
    timed = record.targets[target].throughput
    if timed is None:
        return record
    return change_target(target, {"throughput": timed.model_copy(update={name: None}), "verdict": None})(record)
