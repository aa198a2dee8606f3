"""One component of a world model as an ONNX graph, with the state contract proved before and after it is written."""

from porting.export.component import export_component

__all__ = ["export_component"]
