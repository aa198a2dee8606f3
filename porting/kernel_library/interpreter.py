"""Mends Triton's interpreter, so that what it computes is what a device computes, and it refuses what a device may not.

The stock interpreter of Triton 3.9.0 is wrong without a word in these places; each is mended here:

- bf16 and fp8 are stored as unsigned integers, so `tl.dot`, arithmetic, comparisons, minima, selections and reductions
  work on bit patterns. Here arrays hold the numbers themselves; fp8 dots decode NaN and infinity.
- Casts to bf16 truncate, casts to fp8 round wrongly, wrap around and lose NaN. Here they round to nearest even once,
  fp8 saturates, NaN stays; `fp_downcast_rounding="rtz"` truncates.
- `tl.dot_scaled` takes e4m3 scales (nvfp4) for e8m0, and decodes bf16 operands through fp16.
- A float argument stays a Python float, which takes part in promotion as a literal. On a device it is fp32.
- `tl.dot` of fp32 ignores `input_precision`. Here tf32 drops what tensor cores drop, so fp32 that must be exact has to
  say "ieee".
- `tl.sum` of fp16 accumulates in fp32. Here narrow floats are added in their own type, in a tree as warps do.
- A masked load without `other` yields 0. On a device it is undefined: here it is NaN, or a far integer.
- A float that no integer of the target type can hold is converted to something. On a device it is undefined: refused.
- Addresses outside the kernel's tensors are read and written. Here they are refused (`memory_guard`).
- Infinity and NaN make numpy warn. Devices do not; the warnings are off while a kernel runs.
- Every call of a device function patches the whole language again, most of a program's time. Here it happens once a
  launch.

Not modelled: approximate division, exponentials and square roots, the order of sums in tensor cores and their imprecise
fp8 accumulation, ties in argmin, races between programs. libdevice and inline assembly are not interpreted at all.
The replacements themselves stand in `interpreter_mends`.
"""

import inspect
import os
from typing import Any

import triton

from porting.errors import KernelError

KNOWN_VERSIONS = ("3.9.0",)
"""Every mend was written against these sources and is tested with them."""


def mend_interpreter() -> None:
    """Mend the interpreter of this process, once; later calls do nothing.

    Raises:
        KernelError: this process compiles kernels, or Triton is of a version whose internals are not known here.
    """
    check_version(triton.__version__)
    from triton.runtime import interpreter as stock

    if (
        not isinstance(triton.language.standard.sum, stock.InterpretedFunction)
        or os.environ.get("TRITON_INTERPRET") != "1"
    ):
        raise KernelError("interpreter: triton was imported to compile; set TRITON_INTERPRET=1 before it is imported")
    # Not before the version is known: the module takes hold of internals.
    from porting.kernel_library.interpreter_mends import MENDS

    if all(getattr(mend.owner, mend.name) is mend.replacement for mend in MENDS):
        return
    for mend in MENDS:
        check_signature(mend.owner, mend.name, mend.signature)
    for mend in MENDS:
        setattr(mend.owner, mend.name, mend.replacement)


def check_version(version: str) -> None:
    """Refuse a Triton that the mends were not written for.

    Raises:
        KernelError: it is another.
    """
    if version not in KNOWN_VERSIONS:
        raise KernelError(
            f"interpreter: triton {version} is not one whose interpreter is known here; install"
            f" triton {' or '.join(KNOWN_VERSIONS)} to interpret kernels"
        )


def check_signature(owner: Any, name: str, signature: str) -> None:
    """Refuse internals that are not what the version should have.

    Raises:
        KernelError: the function that is to be replaced is missing or takes something else.
    """
    found = getattr(owner, name, None)
    described = "missing" if found is None else str(inspect.signature(found))
    if described != signature:
        raise KernelError(
            f"interpreter: triton's {owner.__name__}.{name} is {described}, known is {signature}; install the published"
            f" triton {' or '.join(KNOWN_VERSIONS)}"
        )
