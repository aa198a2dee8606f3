"""Runs a frame program on named buffers: the whole host side of a world model. No torch, no adapter, no backend."""

from porting.rollout.ring import RingClock
from porting.rollout.session import COPY, Rollout, Span

__all__ = ["COPY", "RingClock", "Rollout", "Span"]
