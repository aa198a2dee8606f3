"""What torch computes on a device, captured as a graph where that can be."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from porting.errors import RunnerError

WARM_UP_CALLS = 2
"""Before a graph is captured: the first loads binaries, the second settles the allocator."""
Compute = Callable[[list[Tensor]], list[Tensor]]
"""Inputs on the device to outputs there."""


def capture_call(
    device: torch.device, compute: Compute, taken: list[Tensor], warming: AbstractContextManager[None] | None = None
) -> tuple[Compute, bool]:
    """Call it a few times, then capture the call as a graph where the device can.

    Args:
        device: where the tensors lie.
        compute: what is called.
        taken: its inputs, which stay where they are; a captured call reads them there.
        warming: entered around the first calls.

    Returns:
        What computes the same, and whether it is a graph.

    Raises:
        RunnerError: it cannot be called at all.
    """
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream), warming or nullcontext():
        for _ in range(WARM_UP_CALLS):
            compute(taken)
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            made = compute(taken)
    except (RuntimeError, RunnerError):
        # Something in it waits for the host; the same calls, one by one, compute the same.
        return compute, False

    def replay(_: list[Tensor]) -> list[Tensor]:
        graph.replay()
        return made

    return replay, True
