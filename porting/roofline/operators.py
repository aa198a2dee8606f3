"""What one ONNX node computes and moves, from the shapes of its inputs and outputs.

A multiplication and the sum that it goes into are two operations. It knows nothing of how a runtime computes a node:
Winograd's or Strassen's products would need fewer, and count as the direct ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

FREE = frozenset({"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Shape", "Size", "Squeeze", "Unsqueeze"})
"""Another view of the same memory, or nothing at run time."""
READS_WHAT_IT_TAKES = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split"})
"""Moves data, and reads no more of its first input than it writes."""
MOVES = READS_WHAT_IT_TAKES | {
    "Cast", "CastLike", "Compress", "Concat", "ConstantOfShape", "DepthToSpace", "Expand", "EyeLike", "NonZero",
    "OneHot", "Pad", "Range", "ReverseSequence", "ScatterElements", "ScatterND", "SpaceToDepth", "TensorScatter",
    "Tile", "Transpose", "Trilu", "Where",
}  # fmt: skip
PER_OUTPUT = {
    **dict.fromkeys(
        (
            "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd",
            "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Clip", "Cos", "Cosh", "Div", "Equal", "Erf", "Exp",
            "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
            "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Sign",
            "Sin", "Sinh", "Sqrt", "Sub", "Sum", "Tan", "Tanh", "ThresholdedRelu", "Xor",
        ),
        1,
    ),
    "BatchNormalization": 2,  # folded into scale and shift
    "Celu": 4, "Elu": 3, "Gelu": 5, "HardSigmoid": 3, "HardSwish": 4, "Mish": 5, "Selu": 4, "Softplus": 3,
    "Softsign": 3,
    "Sigmoid": 4,  # negate, exponential, sum, reciprocal
    "Swish": 5,
    "Softmax": 5,  # maximum, difference, exponential, sum, quotient
    "LogSoftmax": 5,
    "LayerNormalization": 8,  # mean, difference, square, its mean, root's share, quotient, scale, shift
    "GroupNormalization": 8,
    "InstanceNormalization": 8,
    "LpNormalization": 4,
    "RMSNormalization": 5,  # square, its mean, root's share, product, scale
    "RotaryEmbedding": 3,  # two products and a sum
    "QuantizeLinear": 3, "DequantizeLinear": 2,
    "Resize": 4,
}  # fmt: skip
"""Operations an element of the first output, where they do not depend on a window."""
PER_INPUT = frozenset(
    {
        "ArgMax", "ArgMin", "CumSum", "GlobalAveragePool", "GlobalMaxPool", "ReduceL1", "ReduceL2", "ReduceLogSumExp",
        "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "TopK",
    }
)  # fmt: skip
"""One operation an element of the input."""
POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})
SOFTMAX_FLOPS = 5

Shape = tuple[int, ...]


class UnknownWorkError(ValueError):
    """The node's work cannot be told; the message is the reason, or empty where the operator is not known."""


@dataclass(frozen=True)
class NodeWork:
    """What one node computes and moves."""

    matrix_flops: int = 0
    vector_flops: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    moves_only: bool = False
    convolution_flops: int = 0
    """Of the matrix products, those of a convolution over a window."""


def count_node(node: ir.Node, size_of: Callable[[ir.Value], int]) -> NodeWork:
    """The work of a node of the standard domain.

    Args:
        node: its inputs and outputs have static shapes.
        size_of: bytes of a value.

    Raises:
        UnknownWorkError: the operator or a shape is not known.
    """
    kind = node.op_type
    if node.domain not in {"", "ai.onnx"}:
        raise UnknownWorkError
    if kind in FREE:
        return NodeWork()
    matrix = MATRIX.get(kind)
    vector = _vector_flops(node) if matrix is None else 0
    if matrix is None and vector is None:
        raise UnknownWorkError
    matrix_flops, more = matrix(node) if matrix is not None else (0, 0)
    written = sum(size_of(value) for value in node.outputs if is_wanted(value))
    fetched = sum(size_of(value) for value in node.inputs if value is not None)
    read = written if kind in READS_WHAT_IT_TAKES else fetched
    windowed = matrix_flops if kind == "Conv" and math.prod(shape_of(node.inputs[1])[2:]) > 1 else 0
    return NodeWork(matrix_flops, (vector or 0) + more, read, written, kind in MOVES, windowed)


def shape_of(value: ir.Value | None) -> Shape:
    """The static shape of a value.

    Raises:
        UnknownWorkError: it has none, or a side is symbolic.
    """
    shape = None if value is None else value.shape
    if shape is None or not all(isinstance(side, int) for side in shape):
        raise UnknownWorkError("shape unknown")
    return tuple(side for side in shape if isinstance(side, int))


def is_wanted(value: ir.Value) -> bool:
    """Whether anything reads it."""
    return bool(value.uses()) or value.is_graph_output()


def _vector_flops(node: ir.Node) -> int | None:
    kind = node.op_type
    if kind in MOVES:
        return 0
    if kind in PER_OUTPUT:
        return PER_OUTPUT[kind] * math.prod(shape_of(node.outputs[0]))
    if kind in PER_INPUT:
        return math.prod(shape_of(node.inputs[0]))
    if kind in POOLS:
        return math.prod(shape_of(node.outputs[0])) * math.prod(node.attributes["kernel_shape"].as_ints())
    return None


def _matmul(node: ir.Node) -> tuple[int, int]:
    return 2 * math.prod(shape_of(node.outputs[0])) * shape_of(node.inputs[0])[-1], 0


def _gemm(node: ir.Node) -> tuple[int, int]:
    rows = shape_of(node.inputs[0])
    transposed = "transA" in node.attributes and node.attributes["transA"].as_int() == 1
    out = math.prod(shape_of(node.outputs[0]))
    bias = out if len(node.inputs) > 2 and node.inputs[2] is not None else 0
    return 2 * out * rows[0 if transposed else 1], bias


def _conv(node: ir.Node) -> tuple[int, int]:
    weight, out = shape_of(node.inputs[1]), math.prod(shape_of(node.outputs[0]))
    bias = out if len(node.inputs) > 2 and node.inputs[2] is not None else 0
    # The weight is (O, C / groups, *window): each output sums over everything but its own channel.
    return 2 * out * math.prod(weight[1:]), bias


def _conv_transpose(node: ir.Node) -> tuple[int, int]:
    weight = shape_of(node.inputs[1])
    bias = math.prod(shape_of(node.outputs[0])) if len(node.inputs) > 2 and node.inputs[2] is not None else 0
    return 2 * math.prod(shape_of(node.inputs[0])) * math.prod(weight[1:]), bias


def _attention(node: ir.Node) -> tuple[int, int]:
    """Scores and their product with the values, over past and new keys; a causal mask saves nothing here."""
    query, key, value = (shape_of(tensor) for tensor in node.inputs[:3])
    if len(query) == 4:
        batch, heads, queries, width = query
        keys, value_width = key[2], value[3]
    else:
        heads = node.attributes["q_num_heads"].as_int()
        batch, queries, width = query[0], query[1], query[2] // heads
        keys, value_width = key[1], value[2] // node.attributes["kv_num_heads"].as_int()
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        keys += shape_of(node.inputs[4])[2]
    scores = batch * heads * queries * keys
    masked = scores if len(node.inputs) > 3 and node.inputs[3] is not None else 0
    return 2 * scores * (width + value_width), SOFTMAX_FLOPS * scores + masked


MATRIX: dict[str, Callable[[ir.Node], tuple[int, int]]] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
"""Operator -> its operations as products of matrices, and those beside them."""
