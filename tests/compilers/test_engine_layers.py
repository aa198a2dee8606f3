"""The engine inspector's JSON of TensorRT 10 and 11, and what may not pass for a precision."""

import json

import pytest

from porting.compilers.engine_layers import count_layers, read_layers


def tensor(**told: object) -> dict[str, object]:
    return {"Name": "t", "Dimensions": [1, 4], **told}


def layer(*types: dict[str, object], **changes: object) -> dict[str, object]:
    return {"Name": "node", "LayerType": "kgen", "Inputs": list(types[:-1]), "Outputs": [types[-1]], **changes}


HALF_11 = tensor(Format="Row major linear", Datatype="FP16")
FLOAT_11 = tensor(Format="Row major linear", Datatype="FP32")
HALF_10 = tensor(**{"Format/Datatype": "Row major linear FP16 format (kLINEAR)"})
VECTOR_10 = tensor(**{"Format/Datatype": "Eight wide channel vectorized row major FP16 format"})


@pytest.mark.parametrize(
    ("found", "precision"),
    [
        (layer(HALF_11, HALF_11), "fp16"),
        (layer(FLOAT_11, HALF_11), "fp16"),
        (layer(FLOAT_11, FLOAT_11), "fp32"),
        (layer(HALF_10, HALF_10), "fp16"),
        (layer(VECTOR_10, HALF_10), "fp16"),
        (layer(tensor(Datatype="BF16"), FLOAT_11), "bf16"),
        (layer(tensor(DataType="Half"), FLOAT_11), "fp16"),
        (layer(tensor(Datatype="Int64"), tensor(Datatype="Bool")), "integer"),
        (layer(tensor(Datatype="FP8"), HALF_11), "fp8"),
        (layer(tensor(Datatype="Unheard of"), HALF_11), "unheard of"),
        (layer(tensor(), HALF_11), "not told"),
        (layer(FLOAT_11, FLOAT_11, TacticName="sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n"), "tf32"),
        (layer(FLOAT_11, FLOAT_11, Inputs=None, Outputs=[]), "not told"),
        ("only a name", "not told"),
    ],
)
def test_a_layer_counts_as_the_coarsest_it_touches(found: object, precision: str) -> None:
    (read,) = read_layers(json.dumps({"Layers": [found]}))
    assert read.precision == precision


def test_kinds_and_attention_are_counted() -> None:
    layers = read_layers(
        json.dumps(
            {
                "Layers": [
                    layer(HALF_11, HALF_11, TacticName="_gemm_mha_v2_0x12"),
                    layer(HALF_11, HALF_11, LayerType="gemm"),
                    layer(HALF_11, HALF_11, Name="fmha", LayerType="gemm"),
                ],
                "I/O Tensors": [],
            }
        )
    )
    assert count_layers(layers, "kind") == {"kgen": 1, "gemm": 2}
    assert [found.is_attention for found in layers] == [True, False, True]


@pytest.mark.parametrize("text", ["", "{}", '{"Layers": []}', "[1"])
def test_an_engine_that_tells_nothing_has_no_layers(text: str) -> None:
    with pytest.raises(ValueError, match=r"no layers|Expecting"):
        read_layers(text)
