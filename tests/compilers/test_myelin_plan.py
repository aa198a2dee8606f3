"""The text in a TensorRT-RTX plan: read where it is known, and refused as unknown where it is not."""

import pytest

from porting.compilers.myelin_plan import ATTENTION_KIND, read_plan

HEADER = """header {{
  version = {version}
  tf32={tf32}
  accelerators={{{architectures} }}
descriptors {{
  tensor={{ alignment=128 dims={{ 1 4 }} name="x.1" offset=0 region="devmem" type=float }}
  tensor={{ alignment=128 dims={{ 1 4 }} name="h" offset=0 region="devmem" type=half }}
  sub_tensor={{ base="h" dims={{ 1 4 }} name="h^deref" offset=0 type=half }}
  tensor={{ alignment=128 dims={{ 4 }} name="mask" offset=0 region="devmem" type=int64 }}
  tensor={{ alignment=128 dims={{ 4 }} name="b" offset=0 region="devmem" type=bool }}
  tensor={{ alignment=128 dims={{ 4 }} name="q" offset=0 region="devmem" type=fp8 }}
main {{
 label bb1:\x20
{kernels}}}
shape_main {{
  function={{ name=__myl_Never args={{ "x.1" }} input_args={{ "x.1" }} output_args={{ "x.1" }} }}
}}
"""
CAST = (
    '  function={ name=__myl_Cast fqn=__myl_Cast_0x1 input_args={ "x.1" } output_args={ "h" }'
    ' layers="[ONNX Layer: cast_x]" }\n'
)
MATRIX = (
    '  fully_connected={ name="node_linear" output={"h" } input={"h^deref" "h" } layers="[ONNX Layer: node_linear]'
    '\x1f[ONNX Layer: node_add]" swap_ab=false }\n'
)
ATTENTION = '  function={ name=_gemm_mha_v2 input_args={ "h" "mask" } output_args={ "h" } }\n'
MASK = '  function={ name=__myl_Gre input_args={ "mask" } output_args={ "b" } }\n'
FLOAT = '  corrltn={ name="node_conv" output={"x.1" } input={"x.1" } }\n'
FP8 = '  runtime_fusion={ name=__myl_Fc input_args={ "q" "h" } output_args={ "h" } backbone=fc }\n'
LOST = '  function={ name=__myl_Add input_args={ "nowhere" } output_args={ "h" } }\n'


def plan(kernels: str, version: int = 5, architectures: str = "sm120", tf32: int = 0) -> bytes:
    """A plan as the library writes it: text between bytes that are none."""
    text = HEADER.format(version=version, kernels=kernels, architectures=architectures, tf32=tf32)
    return b"ptrt\x00\x01\xff" + text.encode() + b"\x00\x01" + b"\xfe" * 40


def test_kernels_are_read_with_kind_type_and_source() -> None:
    reading = read_plan(plan(CAST + MATRIX + ATTENTION + MASK + FLOAT))
    assert reading.known
    assert reading.architectures == ("sm120",)
    assert not reading.tf32
    assert [(kernel.name, kernel.precision) for kernel in reading.kernels] == [
        ("__myl_Cast", "fp16"),
        ("node_linear", "fp16"),
        ("_gemm_mha_v2", "fp16"),
        ("__myl_Gre", "integer"),
        ("node_conv", "fp32"),
    ]
    assert reading.kernels[1].sources == ("node_linear", "node_add")
    assert reading.count("kind") == {
        "generated kernel": 2,
        "matrix product": 1,
        ATTENTION_KIND: 1,
        "convolution": 1,
    }


@pytest.mark.parametrize(("kernel", "precision"), [(FP8, "fp8"), (LOST, "of unknown type")])
def test_a_type_that_is_not_known_cannot_hide(kernel: str, precision: str) -> None:
    (found,) = read_plan(plan(kernel)).kernels
    assert found.precision == precision


def test_graphs_of_every_architecture_are_parts_of_others() -> None:
    reading = read_plan(plan(CAST) + plan(MATRIX, architectures="*") + plan(ATTENTION))
    assert [kernel.name for kernel in reading.kernels] == ["__myl_Cast", "_gemm_mha_v2"]


def test_two_architectures_are_both_told() -> None:
    assert read_plan(plan(CAST, architectures="sm121 sm120")).architectures == ("sm120", "sm121")


def test_tf32_in_any_graph_is_told() -> None:
    assert read_plan(plan(CAST) + plan(CAST, tf32=1)).tf32


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 100, plan(CAST, version=6), plan(CAST) + plan(CAST, version=6), plan("")]
)
def test_another_format_is_not_known(data: bytes) -> None:
    assert not read_plan(data).known
