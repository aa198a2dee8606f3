"""Ports a world-model checkpoint to an accelerator and proves that it simulates the same world."""

__version__ = "0.1.0"
