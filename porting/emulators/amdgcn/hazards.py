"""Which registers an instruction reads and writes, from its text: to find what is used before it is there.

A register that an instruction only merges into (v_writelane, halves, bytes) counts as written, not as read.
"""

import re
from dataclasses import dataclass
from functools import cache

from porting.emulators.amdgcn.atomics import returns
from porting.emulators.amdgcn.operands import EXEC, M0, VCC, Operand, UndecodedError
from porting.emulators.amdgcn.registry import Context
from porting.emulators.amdgcn.text import RAW, Instruction
from porting.emulators.amdgcn.valu import split_mnemonic
from porting.emulators.amdgcn.values import read_list

Keys = frozenset[int]
NO_RESULT = re.compile(
    r"\w+_store_|ds_(write|store)|s_cmp|s_bitcmp|s_cbranch|s_branch|s_barrier|s_wait|s_nop|s_endpgm|s_set_vgpr"
    r"|global_load_lds|global_load_async|tensor_|s_prefetch|global_prefetch|v_cmpx_\w+_e32|v_nop|s_clause|s_sleep"
    r"|s_set|s_delay|ds_(add|sub|min|max|and|or|xor|pk_add|cmpstore|cmpst)_(num_)?[uibf]|ds_pk_add_b?f16"
)
ATOMIC = re.compile(r"(global|buffer|flat)_atomic_")
TWO_RESULTS = re.compile(r"v_(add|sub|subrev|addc|subb|subbrev)_co_|v_mad_(co_)?[ui]64_[ui]32|v_div_scale_")
SWAPS = re.compile(r"v_(swap|permlane16_swap|permlane32_swap)_b32")
ACCUMULATES = re.compile(r"v_(dual_|pk_)?(fmac|dot2c|dot2acc|dual_dot2acc)|s_fmac")
COPIES = re.compile(r"[vs]_(dual_)?mov_b(32|64)(_e32|_e64)?$|v_accvgpr")
SPILLS = re.compile(r"v_writelane|v_readlane")
"""Between a scalar register and a lane: what an undefined register is spilled to is not looked at."""
WIDE_SUM = re.compile(r"v_mad_(co_|nc_)?[ui]64_[ui]32")
"""Compilers that need the lower half of the sum leave the upper half of the addend undefined."""
PAIRS = re.compile(r"v_pk_(add|mul|fma)_f32|v_pk_mov_b32")
OLD_SCALAR = re.compile(r"s_(addk|mulk|cmovk|cmov|bitset|addk_co)")


NOWHERE = 1 << 30
"""The key of no register."""


@dataclass(frozen=True)
class Touched:
    """Keys of registers, as Operand.keys names them."""

    reads: Keys
    """That must be defined."""
    writes: Keys
    moves: tuple[tuple[int, int], ...] = ()
    """(source, result): if the source is undefined, that result is too, and nothing is wrong yet."""

    @property
    def all(self) -> Keys:
        """Every register that the instruction uses."""
        return self.reads | self.writes | {source for source, _ in self.moves}


@dataclass(frozen=True)
class Traits:
    """What a mnemonic says about its operands."""

    results: int
    """How many of the first operands are results."""
    swaps: bool
    """All operands are sources and results."""
    accumulates: bool
    """The result is a source too."""
    pairs: bool
    """op_sel chooses registers of pairs."""
    copies: bool
    spills: bool
    wide_sum: bool


@cache
def traits_of(mnemonic: str) -> Traits:
    """The traits of a mnemonic."""
    results = 2 if TWO_RESULTS.match(mnemonic) else 1
    if mnemonic.startswith(RAW) or NO_RESULT.match(mnemonic):
        results = 0
    return Traits(
        results=results,
        swaps=SWAPS.match(mnemonic) is not None,
        accumulates=bool(ACCUMULATES.match(mnemonic) or OLD_SCALAR.match(mnemonic)),
        pairs=PAIRS.match(mnemonic) is not None,
        copies=COPIES.match(mnemonic) is not None,
        spills=SPILLS.match(mnemonic) is not None,
        wide_sum=WIDE_SUM.match(mnemonic) is not None,
    )


def scalar_keys(index: int, count: int) -> set[int]:
    """Keys of scalar registers."""
    return {-1 - index - place for place in range(count)}


def results(instruction: Instruction) -> int:
    """How many of the first operands are results."""
    if ATOMIC.match(instruction.mnemonic):
        return int(returns(instruction))
    return 0 if "lds" in instruction.modifiers else traits_of(instruction.mnemonic).results


def _operands(instruction: Instruction, context: Context) -> list[Operand | None]:
    """The operands; None for what is no register or constant."""
    found: list[Operand | None] = []
    for text in instruction.operands:
        try:
            found.append(context.operand(text))
        except UndecodedError:
            found.append(None)
    return found


def _implicit(mnemonic: str, mask_words: int) -> tuple[set[int], set[int]]:
    """Registers that an instruction reads and writes without naming them."""
    reads: set[int] = set()
    writes: set[int] = set()
    if mnemonic.startswith(("v_div_fmas", "s_cbranch_vcc", "v_dual_cndmask")):
        reads |= scalar_keys(VCC, mask_words)
    if "_lds_" in mnemonic and mnemonic.startswith("global_load_lds"):
        reads |= scalar_keys(M0, 1)
    if "saveexec" in mnemonic or mnemonic.startswith("v_cmpx"):
        writes |= scalar_keys(EXEC, mask_words)
    return reads, writes


def touched(instruction: Instruction, context: Context) -> Touched:
    """What an instruction, and the other half of a dual one, touches."""
    traits = traits_of(instruction.mnemonic)
    reads, writes = _implicit(instruction.mnemonic, context.target.lanes // 32)
    if "lds" in instruction.modifiers:
        reads |= scalar_keys(M0, 1)
    count = results(instruction)
    operands = _operands(instruction, context)
    for place, operand in enumerate(operands):
        if operand is None:
            continue
        keys = _chosen(instruction, operand, place - 1) if traits.pairs and place else set(operand.keys)
        if place < count or traits.swaps:
            writes |= keys
        if place >= count or traits.swaps or traits.accumulates:
            reads |= keys
        if place < count and instruction.mnemonic.startswith("buffer_atomic"):
            # The data is replaced by what was there.
            reads |= keys
    moves = _moves(traits, operands)
    reads -= {source for source, _ in moves}
    if instruction.second is not None:
        other = touched(instruction.second, context)
        reads, writes, moves = reads | other.reads, writes | other.writes, moves + other.moves
    return Touched(frozenset(reads), frozenset(writes), moves)


def _moves(traits: Traits, operands: list[Operand | None]) -> tuple[tuple[int, int], ...]:
    """Which result is undefined if which source is."""
    known = [operand.keys if operand is not None else () for operand in operands]
    if traits.copies:
        return tuple(zip(known[1], known[0], strict=False))
    if traits.spills:
        return tuple((key, NOWHERE) for key in known[1])
    if traits.wide_sum and len(known[-1]) == 2:
        return ((known[-1][1], known[0][1]),)
    return ()


def _chosen(instruction: Instruction, operand: Operand, source: int) -> set[int]:
    """Of a pair of registers those that a packed instruction's op_sel and op_sel_hi name."""
    modifiers = instruction.modifiers
    low = read_list(modifiers["op_sel"])[source] if "op_sel" in modifiers else 0
    high = read_list(modifiers["op_sel_hi"])[source] if "op_sel_hi" in modifiers else 1
    if instruction.mnemonic == "v_pk_mov_b32":
        high = low
    keys = operand.keys
    return {keys[half] for half in (low, high) if half < len(keys)}


SLOTS = (0, 2, 4)
RESULT_SLOT = 6


def wide_slots(instruction: Instruction, context: Context) -> list[tuple[int, int]]:
    """gfx1250: of each vector register that is named, (place of its upper bits in the mode, those bits).

    Source: LLVM, AMDGPULowerVGPREncoding: the address of a memory instruction is a first source, the data of a
    global store and of LDS a second (and third), the data of a buffer instruction and the LDS address of a copy a
    result.
    """
    if instruction.mnemonic.startswith("s_"):
        return []
    found = []
    count = results(instruction)
    data_is_result = instruction.mnemonic.startswith(("buffer_store", "global_load_async"))
    source = 0
    for place, operand in enumerate(_operands(instruction, context)):
        is_result = place < count or (data_is_result and place == 0)
        if operand is not None and operand.kind == "vector":
            slot = RESULT_SLOT if is_result else SLOTS[source] if source < len(SLOTS) else None
            if slot is not None:
                found.append((slot, operand.index >> 8))
        if not is_result and not _is_inner_literal(instruction, place):
            source += 1
    if instruction.second is not None:
        found += wide_slots(instruction.second, context)
    return found


def _is_inner_literal(instruction: Instruction, place: int) -> bool:
    """The literal of v_fmamk takes no slot: the register after it is a second source."""
    return "fmamk" in split_mnemonic(instruction.mnemonic)[0] and place == 2
