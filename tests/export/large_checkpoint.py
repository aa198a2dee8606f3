"""A checkpoint larger than a process may hold, and a process that exports it and says what memory it took.

    python -m tests.export.large_checkpoint CHECKPOINT OUT

prints the record's parameters and weight bytes, and the most anonymous memory (bytes) that was seen, as JSON.
"""

import json
import math
import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np

from porting.adapters.gwm.config import MINI, GwmConfig
from porting.adapters.gwm.layout import expected_tensors

CHUNK = 1 << 22
LOOK_SECONDS = 0.02


def make_config(weight_bytes: float, depth: int) -> GwmConfig:
    """Small frames, and a denoiser of about that many bytes in so many layers."""
    table = MINI.model_dump()
    table |= {"frame_height": 16, "frame_width": 16, "context_frames": 2, "action_width": 2}
    table["autoencoder"] |= {"widths": (8, 12), "patch": 2, "temporal_kernel": 3}
    # With this hidden width, a layer has about twelve times the width's square.
    width = int(math.sqrt(weight_bytes / 4 / depth / 12.3)) // 128 * 128
    sizes = {"width": width, "heads": width // 64, "depth": depth, "mlp_width": 2 * width}
    table["denoiser"] |= {**sizes, "stem_width": 8, "window": 5, "sink": 1}
    return GwmConfig.model_validate(table)


def write_checkpoint(folder: Path, config: GwmConfig, half: bool = False) -> int:
    """Write config and weights, in float32 or float16, a few megabytes at a time; returns the bytes of the weights."""
    code, dtype = ("F16", np.float16) if half else ("F32", np.float32)
    shapes = expected_tensors(config)
    header, offset = {}, 0
    for name, shape in shapes.items():
        nbytes = np.dtype(dtype).itemsize * math.prod(shape)
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [offset, offset + nbytes]}
        offset += nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    chance = np.random.default_rng(0)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.model_dump(mode="json")), encoding="utf-8")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            scale = np.float32(0.5 / math.sqrt(shape[-1] if len(shape) > 1 else 1))
            for start in range(0, math.prod(shape), CHUNK):
                count = min(CHUNK, math.prod(shape) - start)
                file.write((chance.standard_normal(count, dtype=np.float32) * scale).astype(dtype).tobytes())
    return offset


def watch_memory(peak: list[int]) -> None:
    """Keep the most anonymous memory of this process, for ever."""
    while True:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("RssAnon:"):
                peak[0] = max(peak[0], 1024 * int(line.split()[1]))
        time.sleep(LOOK_SECONDS)


def main(checkpoint: Path, out: Path) -> None:
    """Export the denoiser."""
    peak = [0]
    threading.Thread(target=watch_memory, args=(peak,), daemon=True).start()
    from porting.adapters.registry import load_world_model
    from porting.export import export_component

    start = time.perf_counter()
    record = export_component(load_world_model(str(checkpoint)), "denoiser", out, opset=20)
    told = {"weight_bytes": record.weight_bytes, "peak": peak[0], "seconds": round(time.perf_counter() - start, 1)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
