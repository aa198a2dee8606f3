"""Which instructions there are: exact mnemonic, with every modifier, -> what decodes it.

Nothing is ever found by a part of a mnemonic: an instruction that no module has entered is unknown.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from porting.emulators.ptx.active import Active
from porting.emulators.ptx.parse import Instruction

if TYPE_CHECKING:
    from porting.emulators.ptx.machine import Machine

Mask = npt.NDArray[np.bool_]
"""One a thread."""
Step = Callable[[Active], object]
"""Execute one instruction for the threads that are active; what it returns is not looked at."""
Outcome = int | list[tuple[int, Mask]] | None
"""Where the threads go on: all at one instruction; each group at its own, those not named having ended, waiting or
been handed to the scheduler by other means; None: all at the next instruction."""
ControlStep = Callable[[Active], Outcome]
Decoder = Callable[[Instruction, "Machine"], Step]
ControlDecoder = Callable[[Instruction, "Machine"], ControlStep]

STEPS: dict[str, Decoder] = {}
CONTROLS: dict[str, ControlDecoder] = {}


def instruction(*mnemonics: str) -> Callable[[Decoder], Decoder]:
    """Enter what decodes instructions after which every thread goes on at the next one."""

    def enter(decoder: Decoder) -> Decoder:
        _enter(STEPS, mnemonics, decoder)
        return decoder

    return enter


def control(*mnemonics: str) -> Callable[[ControlDecoder], ControlDecoder]:
    """Enter what decodes instructions that branch, end, or may have to wait. It heeds its predicate itself."""

    def enter(decoder: ControlDecoder) -> ControlDecoder:
        _enter(CONTROLS, mnemonics, decoder)
        return decoder

    return enter


def _enter(table: dict[str, Any], mnemonics: tuple[str, ...], decoder: object) -> None:
    for mnemonic in mnemonics:
        if mnemonic in STEPS or mnemonic in CONTROLS:
            raise ValueError(f"table: {mnemonic} is entered twice; one module owns an instruction")
        table[mnemonic] = decoder
