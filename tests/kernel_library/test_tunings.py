"""The tuning of an architecture, and of one variant on it."""

from pathlib import Path

import pytest
import torch

from porting.errors import KernelError
from porting.kernel_library import load_kernel

SOURCE = Path(__file__).resolve().parents[2] / "kernels" / "gated_mlp.py"


def with_tunables(folder: Path, tunables: str) -> Path:
    source = SOURCE.read_text(encoding="utf-8")
    path = folder / "tuned.py"
    path.write_text(f"{source}\nTUNABLES = {tunables}\n", encoding="utf-8")
    return path


def test_a_variant_differs_from_its_architecture_and_that_from_the_default(tmp_path: Path) -> None:
    path = with_tunables(
        tmp_path, '{"default": {"num_warps": 4}, "cuda:90": {"num_warps": 8}, "cuda:90 float32": {"num_warps": 2}}'
    )
    kernel = load_kernel(path)
    assert kernel.tuning_for("cuda:80", torch.float32) == {"num_warps": 4}
    assert kernel.tuning_for("cuda:90") == kernel.tuning_for("cuda:90", torch.float16) == {"num_warps": 8}
    assert kernel.tuning_for("cuda:90", torch.float32) == kernel.tuning_for("cuda:90", "float32") == {"num_warps": 2}


@pytest.mark.parametrize("key", ["cuda:90 float64", "float32", "cuda:90 float32 more", "sm_90"])
def test_a_strange_cell_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="TUNABLES"):
        load_kernel(with_tunables(tmp_path, f'{{"default": {{}}, "{key}": {{}}}}'))


def test_inputs_say_which_variant_they_are() -> None:
    kernel = load_kernel(SOURCE)
    assert kernel.variant_of(kernel.inputs((2, 8), torch.bfloat16)) is torch.bfloat16
    scaled = load_kernel(SOURCE.with_name("block_quantize.py"))
    assert scaled.variant_of(scaled.inputs(scaled.examples[0], "nvfp4")) == "nvfp4"
