"""What a model will need and at best reach, from its config alone: a projection, with its assumptions beside it."""

from porting.planning.devices import plan_device
from porting.planning.gwm import describe_gwm
from porting.planning.plan import Plan, make_plan
from porting.planning.racks import Rack, plan_rack, read_racks
from porting.planning.sources import read_model
from porting.planning.work import PlannedModel

__all__ = [
    "Plan",
    "PlannedModel",
    "Rack",
    "describe_gwm",
    "make_plan",
    "plan_device",
    "plan_rack",
    "read_model",
    "read_racks",
]
