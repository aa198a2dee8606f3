"""Parity: is the port as good as PyTorch itself at this precision? Component, teacher-forced and free-running."""

from porting.parity.component import measure_component
from porting.parity.evidence import measure_parity

__all__ = ["measure_component", "measure_parity"]
