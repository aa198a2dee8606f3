"""The limit: work counted from graphs, a device's peaks, and the floor time that follows. Nothing here runs a model.

Counting (`graph`, `frame`) reads ONNX and is imported by name, so that planning, which reads none, loads none.
"""

from porting.roofline.assumptions import list_assumptions
from porting.roofline.calibration import calibrate_host, settle_calibration
from porting.roofline.floor import limit_frame
from porting.roofline.peaks import peaks_of_device

__all__ = ["calibrate_host", "limit_frame", "list_assumptions", "peaks_of_device", "settle_calibration"]
