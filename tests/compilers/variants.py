"""A tiny GWM model's variants with kernels, exported, and how a test compiles them as another checkout would."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.world_model import random_world_model
from porting.adapters.world_model import WorldModel
from porting.compilers import CompileRequest
from porting.program import ComponentSpec
from porting.tensor_spec import Precision

WARMED = """
import json, sys, tempfile
from pathlib import Path
import torch, triton
from porting.kernel_compiler.offline import NamedTarget, make_target, recorded_launches
from porting.kernel_library.launch_cache import read_launches
from porting.kernel_library.operators import computing_by, register_operators
from porting.runners.triton import loaded_from

path = Path(sys.argv[1])
launches = read_launches(path.with_name(path.name.replace(".pt2", ".launches.json")))
register_operators()
triton.runtime.driver.set_active(NamedTarget(make_target(launches.architecture)))
program = torch.export.load(path)
signature = program.graph_signature.user_inputs
nodes = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in signature]
inputs = [torch.zeros(value.shape, dtype=value.dtype) for value in nodes]
hits = []
with loaded_from(path):
    note = triton.knobs.compilation.listener
    triton.knobs.compilation.listener = lambda **said: (hits.append(said["cache_hit"]), note(**said))
    with recorded_launches() as made, computing_by("launch"), torch.no_grad():
        program.module()(*inputs)
print(json.dumps({"launches": len(made), "loaded": hits}))
"""
"""Runs the whole exported graph where every launch is compiled and nothing is launched, as a device's host would."""


def tiny_variant_model() -> WorldModel:
    """Two resolutions in the decoder, one block in the denoiser: few kernels, each of them used."""
    table = MINI.model_dump()
    table |= {"frame_height": 32, "frame_width": 32, "context_frames": 2}
    table["autoencoder"] |= {"widths": (8, 12)}
    table["denoiser"] |= {"width": 32, "heads": 2, "depth": 1, "mlp_width": 24, "stem_width": 8, "window": 3}
    return random_world_model(GwmConfig.model_validate(table), seed=2, samples=1, frames=8)


def make_request(
    component: ComponentSpec, components: Path, out: Path, architecture: str | None, precision: Precision = "fp32"
) -> CompileRequest:
    """A compile for backend triton."""
    return CompileRequest(
        component=component,
        components_dir=components,
        backend="triton",
        precision=precision,
        opset=20,
        out_dir=out,
        threads=1,
        architecture=architecture,
    )


def copy_checkout(project_root: Path, checkout: Path) -> Path:
    """As much of a checkout as compiles kernels, somewhere else."""
    for name in ("porting", "kernels"):
        shutil.copytree(project_root / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(project_root / "pyproject.toml", checkout)
    return checkout


def run_python(checkout: Path, arguments: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
    """A child of that checkout in which Triton compiles."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1", **variables},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def compile_in(checkout: Path, request: CompileRequest, **variables: str) -> dict[str, object]:
    """The worker's answer, in a child of that checkout."""
    request.out_dir.mkdir(parents=True, exist_ok=True)
    question = request.out_dir / "request.json"
    question.write_text(request.model_dump_json(), encoding="utf-8")
    done = run_python(checkout, ["-m", "porting.compilers.worker", str(question)], **variables)
    answer = question.with_name("answer.json")
    if not answer.is_file():
        return {"error": done.stdout + done.stderr}
    told: dict[str, object] = json.loads(answer.read_text(encoding="utf-8"))
    return told
