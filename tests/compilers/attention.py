"""A component with one attention as torch exports it, masked, in all that a rewrite must keep."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from porting.program import ComponentSpec
from porting.runners.base import Buffer
from porting.tensor_spec import TensorSpec

TOKENS, WIDTH, HEADS = 6, 32, 2
ATTENTION_SPEC = ComponentSpec(
    name="attend",
    inputs=(
        TensorSpec(name="x", shape=(1, TOKENS, WIDTH), dtype="float32"),
        TensorSpec(name="context", shape=(1, TOKENS, WIDTH), dtype="float32"),
        TensorSpec(name="age", shape=(TOKENS,), dtype="int64"),
    ),
    outputs=(TensorSpec(name="y", shape=(1, TOKENS, WIDTH), dtype="float32"),),
)


class Attend(nn.Module):
    """Queries of x over keys and values of a context, whose tokens of age 0 are masked."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query, self.keys, self.out = (nn.Linear(WIDTH, width) for width in (WIDTH, 2 * WIDTH, WIDTH))

    def forward(self, x: Tensor, context: Tensor, age: Tensor) -> Tensor:
        query = self.query(x).view(-1, TOKENS, HEADS, WIDTH // HEADS).transpose(1, 2)
        keys, values = self.keys(context).view(-1, TOKENS, 2, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        bias = torch.zeros(TOKENS, dtype=x.dtype).masked_fill(age == 0, -torch.inf).expand(1, 1, TOKENS, -1)
        attended = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        y: Tensor = self.out(attended.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        return y


@functools.cache
def attention_folder() -> Path:
    """attend.onnx; the folder goes with the process."""
    kept = tempfile.TemporaryDirectory(prefix="worldport-attend-")
    _KEPT.append(kept)
    folder = Path(kept.name)
    example = tuple(torch.from_numpy(array) for array in attention_inputs().values())
    with torch.no_grad():
        graph = torch.onnx.export(
            torch.export.export(Attend().eval(), example),
            dynamo=True,
            opset_version=20,
            input_names=[t.name for t in ATTENTION_SPEC.inputs],
            output_names=["y"],
            verbose=False,
        )
    if graph is None:
        raise RuntimeError("the exporter made no graph")
    graph.save(folder / "attend.onnx")
    return folder


def attention_inputs(seed: int = 0) -> dict[str, Buffer]:
    """Every input, in order; two tokens of the context are masked."""
    random = np.random.default_rng(seed)
    x, context = random.standard_normal((2, 1, TOKENS, WIDTH)).astype(np.float32)
    return {"x": x, "context": context, "age": np.array([1, 0, 2, 3, 0, 4])}


def attended(inputs: dict[str, Buffer]) -> Buffer:
    """What the module makes of them."""
    with torch.no_grad():
        made: Buffer = Attend().eval()(*[torch.from_numpy(array) for array in inputs.values()]).numpy()
    return made


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
