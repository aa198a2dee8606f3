"""The limit: work counted from graphs, a device's peaks, and the floor time that follows. Nothing here runs a model."""

from porting.roofline.calibration import calibrate_host
from porting.roofline.floor import limit_frame
from porting.roofline.frame import count_frame
from porting.roofline.graph import count_graph
from porting.roofline.peaks import peaks_of_device

__all__ = ["calibrate_host", "count_frame", "count_graph", "limit_frame", "peaks_of_device"]
