"""The entry point of a kernel's PTX, rewritten for a caller that passes its arguments in another order.

Parameters are declared in one place and read by name, so that putting the declarations into another order moves the
arguments and leaves the code as it is. It knows Triton's conventions and no caller.
"""

import re
import struct
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from triton.backends.nvidia.compiler import get_ptxas

from porting.errors import CompileError

SCRATCH_POINTERS = 2
"""Triton's last parameters: global and profile scratch memory."""
ASSEMBLE_SECONDS = 300
ENTRY = re.compile(r"\.visible \.entry (?P<symbol>\w+)\(\n(?P<parameters>.*?)\n\)", re.DOTALL)
PARAMETER = re.compile(r"\t\.param \.(?P<type>\w+)(?P<pointer> \.ptr[.\w ]*)? (?P<name>\w+)")
TARGET = re.compile(r"^\.target (sm_(\d+)\w*)", re.MULTILINE)
DECLARED = {"i32": "u32", "i64": "u64", "fp32": "f32", "fp64": "f64"}
"""Triton's scalars as PTX declares them; what else there is must be made a constant."""
UNUSED = "\t.param .u64 .ptr .global .align 1 unused_{}"


def rewrite_entry(
    ptx: str, kinds: Sequence[str], order: Sequence[int | None], constants: Mapping[int, Any]
) -> tuple[str, str]:
    """The kernel's name, and the PTX with other parameters.

    Args:
        ptx: as Triton compiled it, one entry point.
        kinds: Triton's types of the kernel's run-time arguments, in its own order: "*fp32", "i32", ...
        order: the new parameters: which of those arguments each is; None is a pointer that the kernel does not read.
        constants: arguments that are no parameter any more, and their values.

    Raises:
        CompileError: the parameters are not the arguments', or the code reads scratch memory.
    """
    entries = list(ENTRY.finditer(ptx))
    if len(entries) != 1:
        raise CompileError(f"the PTX has {len(entries)} entry points; update worldport for this Triton")
    (entry,) = entries
    lines = [line.rstrip(",") for line in entry["parameters"].splitlines()]
    declared = [PARAMETER.fullmatch(line) for line in lines]
    if None in declared or len(declared) != len(kinds) + SCRATCH_POINTERS:
        raise CompileError(
            f"the PTX has {len(lines)} parameters for {len(kinds)} arguments and {SCRATCH_POINTERS} scratch pointers;"
            " update worldport for this Triton"
        )
    parameters = [match for match in declared if match is not None]
    for index, (kind, parameter) in enumerate(zip(kinds, parameters, strict=False)):
        fits = bool(parameter["pointer"]) == kind.startswith("*")
        if not fits or (kind in DECLARED and parameter["type"] != DECLARED[kind]):
            raise CompileError(f"parameter {index} is {lines[index].strip()!r}, argument {kind}; update worldport")
    body = ptx[entry.end() :]
    for scratch in parameters[len(kinds) :]:
        if _reads(body, scratch["name"]):
            raise CompileError("its code reads scratch memory, which TensorRT does not give to a plugin")
    for index, value in constants.items():
        body = _make_constant(body, parameters[index]["name"], kinds[index], value)
    chosen = [UNUSED.format(place) if index is None else lines[index] for place, index in enumerate(order)]
    lost = [p["name"] for i, p in enumerate(parameters) if i not in order and _reads(body, p["name"])]
    if lost:
        raise CompileError(f"its code still reads {', '.join(lost)}; update worldport for this Triton")
    head = ptx[: entry.start()] + f".visible .entry {entry['symbol']}(\n" + ",\n".join(chosen) + "\n)"
    return entry["symbol"], head + body


def _reads(body: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", body) is not None


def _make_constant(body: str, name: str, kind: str, value: Any) -> str:
    """Every load of a parameter as a move of its value; other uses stay, and are found."""

    def move(load: re.Match[str]) -> str:
        return f"mov.{load[1]}{load[2]} {load[3]}, {_literal(kind, value, load[1])};"

    return re.sub(rf"ld\.param\.([bufs])(\d+)\s+(%\w+),\s*\[{name}\];", move, body)


def _literal(kind: str, value: Any, register: str) -> str:
    """A number in PTX: floats by their bits, so that nothing is rounded on the way."""
    if kind not in ("fp32", "fp64"):
        return str(int(value))
    code, digits, prefix = ("<f", 8, "0f") if kind == "fp32" else ("<d", 16, "0d")
    bits = int.from_bytes(struct.pack(code, value), "little")
    return f"{prefix if register == 'f' else '0x'}{bits:0{digits}X}"


def assemble(ptx: str) -> bytes:
    """The cubin that ptxas makes of the PTX for the architecture that it names.

    Raises:
        CompileError: it names none, or ptxas refuses it.
    """
    target = TARGET.search(ptx)
    if target is None:
        raise CompileError("the PTX names no target; compile the kernel again")
    with tempfile.TemporaryDirectory(prefix="worldport-ptxas-") as folder:
        source, binary = Path(folder) / "kernel.ptx", Path(folder) / "kernel.cubin"
        source.write_text(ptx, encoding="utf-8")
        command = [get_ptxas(int(target[2])).path, f"--gpu-name={target[1]}", str(source), "-o", str(binary)]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=ASSEMBLE_SECONDS, check=True)
        except subprocess.CalledProcessError as cause:
            said = (cause.stderr.strip() or cause.stdout.strip() or "nothing").splitlines()[0]
            raise CompileError(f"ptxas refuses the rewritten PTX and says {said}; update worldport") from cause
        except (OSError, subprocess.TimeoutExpired) as cause:
            raise CompileError(f"ptxas cannot be run ({cause}); install triton again") from cause
        return binary.read_bytes()
