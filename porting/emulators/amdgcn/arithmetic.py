"""What the vector instructions compute, on numpy arrays: pure functions, no registers.

Approximate instructions (exp, log, rcp, rsq, sqrt, sin, cos) give the correctly rounded value where numpy does; the
hardware's last bits differ. Denormals are kept, as the kernels' descriptors ask.
"""

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
F32, F64, U16, U32, U64, I32, I64 = np.float32, np.float64, np.uint16, np.uint32, np.uint64, np.int32, np.int64
TIE = U64(0x10000000)
BELOW = U64(0x1FFFFFFF)
"""The bits of a double below a float's last one; TIE alone is halfway between two floats."""
SMALLEST_NORMAL = 2.0**-126


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float32, rounded once."""
    product = np.multiply(a, b, dtype=F64)
    total = product + c
    rounded: Array = total.astype(F32)
    bits = np.asarray(total).view(U64)
    if ((bits & BELOW) == TIE).any() or ((np.abs(rounded) < SMALLEST_NORMAL) & (total != 0)).any():
        return round_to_odd(product, np.asarray(c, F64)).astype(F32)
    return rounded


def round_to_odd(product: Array, addend: Array) -> Array:
    """product + addend in float64, an inexact sum made odd: rounding that to float32 rounds the exact sum."""
    total = np.asarray(product + addend)
    rest = total - product
    error = (product - (total - rest)) + (addend - rest)
    bits = total.view(I64)
    even = (bits & 1) == 0
    inexact = np.isfinite(total) & (error != 0) & even
    step = np.where((error > 0) == (total > 0), 1, -1)
    odd: Array = np.where(inexact, bits + step, bits).view(F64)
    return odd


def maximum(a: Array, b: Array) -> Array:
    """IEEE maximumNumber: a NaN loses, +0 is more than -0."""
    both = np.asarray(a).view(U32) & np.asarray(b).view(U32)
    result: Array = np.where(a == b, both.view(F32), np.fmax(a, b))
    return result


def minimum(a: Array, b: Array) -> Array:
    """IEEE minimumNumber: a NaN loses, -0 is less than +0."""
    both = np.asarray(a).view(U32) | np.asarray(b).view(U32)
    result: Array = np.where(a == b, both.view(F32), np.fmin(a, b))
    return result


def median(a: Array, b: Array, c: Array) -> Array:
    """The middle one of three floats; with a NaN among them the least."""
    middle = maximum(minimum(a, b), minimum(maximum(a, b), c))
    least = minimum(minimum(a, b), c)
    result: Array = np.where(np.isnan(a) | np.isnan(b) | np.isnan(c), least, middle)
    return result


def median_whole(a: Array, b: Array, c: Array) -> Array:
    """The middle one of three whole numbers."""
    result: Array = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return result


def exponent(value: Array) -> Array:
    """The biased exponent of a float32, 0 to 255."""
    result: Array = ((np.asarray(value, F32).view(U32) >> U32(23)) & U32(255)).astype(I64)
    return result


def to_whole(value: Array, low: int, high: int, kind: Any) -> Array:
    """Truncate a float to a whole number between bounds; a NaN becomes 0."""
    wide = np.trunc(np.asarray(value, F64))
    clipped = np.clip(np.nan_to_num(wide, nan=0.0, posinf=high, neginf=low), low, high)
    result: Array = clipped.astype(I64).astype(kind)
    return result


def fraction(value: Array) -> Array:
    """value - floor(value), below 1."""
    result: Array = np.minimum(value - np.floor(value), F32(1.0 - 2.0**-24))
    return result


def ldexp(value: Array, power: Array) -> Array:
    """value * 2**power, rounded once."""
    result: Array = np.ldexp(np.asarray(value, F64), np.clip(power, -400, 400)).astype(F32)
    return result


def frexp_exponent(value: Array) -> Array:
    """The power of two of a float's significand in [0.5, 1); 0 for zeros, infinities and NaN."""
    result: Array = np.where(np.isfinite(value), np.frexp(value)[1], 0).astype(I32)
    return result


def frexp_mantissa(value: Array) -> Array:
    """The significand in [0.5, 1); infinities and NaN as they are."""
    result: Array = np.where(np.isfinite(value), np.frexp(value)[0], value).astype(F32)
    return result


def bitop3(a: Array, b: Array, c: Array, table: int) -> Array:
    """Bit i of the truth table is the result where a, b, c are the bits of i, a the highest."""
    result = np.zeros(np.broadcast(a, b, c).shape, np.asarray(a).dtype)
    for case in range(8):
        if table >> case & 1:
            result |= (a if case & 4 else ~a) & (b if case & 2 else ~b) & (c if case & 1 else ~c)
    return result


def extract_unsigned(value: Array, offset: Array, width: Array) -> Array:
    """The bit field of `width & 31` bits at `offset & 31`."""
    width = width & U32(31)
    result: Array = (value >> (offset & U32(31))) & ((U32(1) << width) - U32(1))
    return result


def extract_signed(value: Array, offset: Array, width: Array) -> Array:
    """The same, sign-extended; a field that passes bit 31 ends there."""
    offset, width = (offset & U32(31)).astype(I64), (width & U32(31)).astype(I64)
    wide = np.asarray(value).view(I32).astype(I64) if np.asarray(value).dtype == U32 else np.asarray(value, I64)
    field = wide >> offset
    shift = 64 - width
    kept = np.where(width == 0, 0, (field << (shift & 63)) >> (shift & 63))
    result: Array = kept.astype(I32)
    return result


def permute_bytes(high: Array, low: Array, selector: Array) -> Array:
    """Each byte of the result is one of the eight bytes of high:low, or a sign, or a constant.

    Selector values 0-7 name a byte (0 the lowest of `low`), 8-11 the sign of byte 1, 3, 5 or 7 in all bits, 12 zero,
    13 and more 0xFF.
    """
    sources = (np.asarray(low, U32), np.asarray(high, U32))
    selectors = np.asarray(selector, U32)
    one = int(selectors.flat[0])
    if selectors.size == 1 or (selectors == U32(one)).all():
        return _permute_alike(sources, one)
    result: Array = np.zeros(np.broadcast(high, low, selector).shape, U32)
    for code in np.unique(selectors):
        result = np.where(selectors == code, _permute_alike(sources, int(code)), result)
    return result


def _permute_alike(sources: tuple[Array, Array], selector: int) -> Array:
    """permute_bytes with one selector for all lanes; sources: low, high."""
    result: Array = np.zeros(np.broadcast(*sources).shape, U32)
    for place in range(4):
        code = selector >> 8 * place & 255
        shift = 8 * place
        if code < 8:
            byte = (sources[code // 4] >> U32(8 * (code % 4))) & U32(255)
            result |= byte << U32(shift)
        elif code < 12:
            word = sources[(code - 8) // 2]
            sign = (word >> U32(31 if code % 2 else 15)) & U32(1)
            result |= (sign * U32(255)) << U32(shift)
        elif code > 12:
            result |= U32(255 << shift)
    return result


def align_bits(high: Array, low: Array, shift: Array) -> Array:
    """The low 32 bits of high:low >> (shift & 31)."""
    both = (np.asarray(high, U64) << U64(32)) | np.asarray(low, U64)
    result: Array = (both >> (np.asarray(shift, U64) & U64(31))).astype(U32)
    return result


def align_bytes(high: Array, low: Array, shift: Array) -> Array:
    """The low 32 bits of high:low >> 8 * (shift & 3)."""
    return align_bits(high, low, (np.asarray(shift, U32) & U32(3)) * U32(8))


def reverse_bits(value: Array) -> Array:
    """Bit 0 becomes bit 31."""
    words = np.ascontiguousarray(value, U32)
    swapped = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")[:, ::-1]
    result: Array = np.packbits(swapped, axis=1, bitorder="little").reshape(-1).view(U32).reshape(words.shape)
    return result


def leading_zeros(value: Array) -> Array:
    """Zeros before the highest one of an unsigned number; all ones if there is none."""
    words = np.asarray(value, U32)
    power = np.frexp(words.astype(F64))[1].astype(I32)
    result: Array = np.where(words == 0, -1, 32 - power).astype(I32).view(U32)
    return result


def trailing_zeros(value: Array) -> Array:
    """Zeros below the lowest one; all ones if there is none."""
    words = np.asarray(value, U32)
    lowest = words & (~words + U32(1))
    power = np.frexp(lowest.astype(F64))[1].astype(I32) - 1
    result: Array = np.where(words == 0, -1, power).astype(I32).view(U32)
    return result


def bfloat_to_float(bits: Array) -> Array:
    """uint16 bits of bfloat16 -> float32."""
    result: Array = (np.asarray(bits, U32) << U32(16)).view(F32)
    return result


def float_to_bfloat(value: Array) -> Array:
    """float32 -> uint16 bits of bfloat16, to nearest even; a NaN stays one."""
    result: Array = np.asarray(value, F32).astype(ml_dtypes.bfloat16).view(U16)
    return result


def div_scale(value: Array, denominator: Array, numerator: Array) -> tuple[Array, Array]:
    """V_DIV_SCALE_F32: (the value scaled so that the division neither overflows nor loses bits, whether to undo it).

    Source: the pseudocode of the CDNA3 instruction set document.
    """
    wide_d, wide_n = np.asarray(denominator, F64), np.asarray(numerator, F64)
    inverse, quotient = (1 / wide_d).astype(F32), (wide_n / wide_d).astype(F32)
    exponents = exponent(numerator) - exponent(denominator)

    def denormal(what: Array) -> Array:
        result: Array = (np.abs(what) < F32(SMALLEST_NORMAL)) & (what != 0)
        return result

    up, down = F32(2.0**64), F32(2.0**-64)
    is_denominator, is_numerator = value == denominator, value == numerator
    cases = [
        (numerator == 0) | (denominator == 0),
        exponents >= 96,
        denormal(denominator),
        denormal(inverse) & denormal(quotient),
        denormal(inverse),
        denormal(quotient),
        exponent(numerator) <= 23,
    ]
    values = [
        np.full(value.shape, np.nan, F32),
        np.where(is_denominator, value * up, value),
        value * up,
        np.where(is_denominator, value * up, value),
        value * down,
        np.where(is_numerator, value * up, value),
        value * up,
    ]
    which = np.select(cases, range(7), 7)
    return np.select(cases, values, value).astype(F32), (which == 1) | (which == 3) | (which == 5)


def div_fmas(a: Array, b: Array, c: Array, scaled: Array) -> Array:
    """V_DIV_FMAS_F32: fma, and undo the scaling of div_scale; rounded once, so that a subnormal quotient is right."""
    total = round_to_odd(np.multiply(a, b, dtype=F64), np.asarray(c, F64))
    factor = np.where(scaled, np.where(exponent(c) > 127, 2.0**64, 2.0**-64), 1.0)
    result: Array = (total * factor).astype(F32)
    return result


def div_fixup(quotient: Array, denominator: Array, numerator: Array) -> Array:
    """V_DIV_FIXUP_F32: the quotient's special cases.

    A quotient that overflowed on the way, to a NaN even, becomes infinity, as AMD's rocjitsu has it from hardware; the
    instruction set document does not say it.
    """
    negative = np.signbit(denominator) != np.signbit(numerator)
    sign = np.where(negative, F32(-1), F32(1))
    infinity, nan = F32(np.inf), F32(np.nan)
    not_numbers = np.isnan(numerator) | np.isnan(denominator)
    undefined = ((denominator == 0) & (numerator == 0)) | (np.isinf(denominator) & np.isinf(numerator))
    cases = [
        not_numbers,
        undefined,
        (denominator == 0) | np.isinf(numerator),
        np.isinf(denominator) | (numerator == 0),
        exponent(numerator) - exponent(denominator) < -150,
        ~np.isfinite(quotient),
    ]
    values = [np.broadcast_to(nan, sign.shape)] * 2 + [sign * infinity, sign * F32(0), sign * F32(0), sign * infinity]
    result: Array = np.select(cases, values, np.copysign(np.abs(quotient), sign)).astype(F32)
    return result


def div_fixup_half(quotient: Array, denominator: Array, numerator: Array) -> Array:
    """V_DIV_FIXUP_F16: the quotient's special cases."""
    half = np.float16
    negative = np.signbit(denominator) != np.signbit(numerator)
    sign = np.where(negative, half(-1), half(1))
    nan = np.broadcast_to(half(np.nan), sign.shape)
    undefined = ((denominator == 0) & (numerator == 0)) | (np.isinf(denominator) & np.isinf(numerator))
    cases = [
        np.isnan(numerator) | np.isnan(denominator) | undefined,
        (denominator == 0) | np.isinf(numerator),
        np.isinf(denominator) | (numerator == 0),
    ]
    values = [nan, sign * half(np.inf), sign * half(0)]
    result: Array = np.select(cases, values, np.copysign(np.abs(quotient), sign)).astype(half)
    return result
