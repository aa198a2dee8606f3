"""What TensorRT's engine inspector tells of an engine, layer by layer: the kernel, and what it computes in.

It reads the JSON of TensorRT 10 and 11, which name a tensor's type differently. It knows no bindings.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from porting.compilers.base import INTEGER
from porting.tensor_spec import UNIT_ROUNDOFF, Precision

TYPE_KEYS = ("Datatype", "DataType", "Format/Datatype")
"""TensorRT 11 has the type alone, TensorRT 10 behind the memory format."""
PRECISIONS: dict[str, Precision] = {
    "FP64": "fp64",
    "FP32": "fp32",
    "FLOAT": "fp32",
    "FP16": "fp16",
    "HALF": "fp16",
    "BF16": "bf16",
    "BFLOAT16": "bf16",
}
WHOLE = {"INT8", "INT32", "INT64", "UINT8", "BOOL"}
WORD = re.compile(r"[A-Za-z]+\d*")
ATTENTION = re.compile(r"f?mha", re.IGNORECASE)
"""In the name of a kernel that is a whole attention: multi-head attention."""
TF32 = "tf32"
"""In the name of a kernel that rounds float32 operands to 11 bits."""


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine."""

    name: str
    kind: str
    precision: str
    """The coarsest floating type among what it reads and writes, `tf32`, `integer`, or `not told`."""
    is_attention: bool


def read_layers(text: str) -> tuple[EngineLayer, ...]:
    """Every layer of the inspector's JSON; `not told` stands for what an engine built without detail leaves out.

    Raises:
        ValueError: it is no JSON, or has no layers.
    """
    layers = json.loads(text).get("Layers")
    if not layers:
        raise ValueError("the engine inspector tells no layers")
    return tuple(_read_layer(layer) for layer in layers)


def count_layers(layers: tuple[EngineLayer, ...], field: str) -> dict[str, int]:
    """How many layers there are of each `kind` or `precision`."""
    return dict(Counter(getattr(layer, field) for layer in layers))


def _read_layer(layer: Any) -> EngineLayer:
    if not isinstance(layer, dict):
        return EngineLayer(name=str(layer), kind="not told", precision="not told", is_attention=False)
    name, tactic = str(layer.get("Name", "")), str(layer.get("TacticName", ""))
    words = f"{name} {tactic} {layer.get('LayerType', '')}"
    tensors = [tensor for side in ("Inputs", "Outputs") for tensor in layer.get(side) or []]
    return EngineLayer(
        name=name,
        kind=str(layer.get("LayerType", "not told")),
        precision=TF32 if TF32 in tactic else _coarsest([*map(_type_of, tensors)]),
        is_attention=ATTENTION.search(words) is not None,
    )


def _type_of(tensor: dict[str, Any]) -> str:
    """The word for a tensor's type, in capitals; what stands there, when there is none that is known."""
    told = next((str(tensor[key]) for key in TYPE_KEYS if key in tensor), "not told")
    return next(_known_words(told), told)


def _known_words(told: str) -> Iterator[str]:
    """Known words from the end: in `Row major linear FP16 format (kLINEAR)` only one is."""
    return (word.upper() for word in reversed(WORD.findall(told)) if word.upper() in PRECISIONS.keys() | WHOLE)


def _coarsest(types: list[str]) -> str:
    """A type that is not known decides, so that it cannot hide."""
    strange = sorted(kind for kind in types if kind not in PRECISIONS and kind not in WHOLE)
    if strange or not types:
        return (strange or ["not told"])[0].lower()
    floats = {PRECISIONS[kind] for kind in types if kind in PRECISIONS}
    return max(floats, key=UNIT_ROUNDOFF.__getitem__, default=INTEGER)
