"""Traces: recorded inputs and reference outputs of whole rollouts."""
