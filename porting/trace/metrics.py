"""How far an array is from gold: relative error, PSNR and SSIM. It knows numbers only, neither models nor budgets."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from skimage.metrics import structural_similarity

from porting.tensor_spec import UNIT_ROUNDOFF, Precision

Array = npt.NDArray[np.generic]
Float64Array = npt.NDArray[np.float64]

EXACT_DB = 320.0
"""What an exact copy counts as, since a record holds finite figures: float64 resolves 20 log10(2 ** 53) = 319 dB."""
SSIM_WINDOW = 7
"""Side of SSIM's sliding window in pixels, scikit-image's own; a smaller frame gets the largest odd one that fits."""


def relative_error(value: Array, gold: Array) -> float:
    """|value - gold| / |gold| in Frobenius norms, in float64; inf where either holds anything but finite numbers.

    Where gold is zero throughout there is nothing to be relative to: the root mean square of the difference, in the
    output's own unit. So an exact zero has no error, and rounding noise around zero has a finite one.
    """
    exact, found = gold.astype(np.float64), value.astype(np.float64)
    if exact.shape != found.shape:
        raise ValueError(f"cannot compare {found.shape} with {exact.shape}")
    if not (np.isfinite(exact).all() and np.isfinite(found).all()):
        return float("inf")
    difference = _norm(found - exact)
    scale = _norm(exact) or max(exact.size, 1) ** 0.5
    return difference / scale


def _norm(array: Float64Array) -> float:
    """Frobenius norm. Not numpy's: that is a BLAS call, whose threads cost more than a small array's sum."""
    return float(np.sqrt(np.square(array).sum()))


def error_budget_ratio(error_port: float, error_eager: float, precision: Precision) -> float:
    """The port's error over PyTorch's own, PyTorch's taken as at least one unit in the last place (two roundings).

    The floor makes nearly exact outputs comparable. On a copied output PyTorch's error is 0; on an elementary function
    of exact values PyTorch may be right to half a unit where another library is to one, as vendors promise no more of
    exp and its like. Seen: onnxruntime at 2.2 unit roundoffs, PyTorch at 1.1, on a decoder's cache for a zero latent.
    inf where either error is no finite number: what PyTorch could not compute is no yardstick.
    """
    if not (np.isfinite(error_port) and np.isfinite(error_eager)):
        return float("inf")
    return error_port / max(error_eager, 2 * UNIT_ROUNDOFF[precision])


def psnr_db(frame: Array, gold: Array) -> float:
    """Peak signal-to-noise ratio, peak 1.0; EXACT_DB for an exact copy, nan for what is not finite."""
    difference = frame.astype(np.float64) - gold.astype(np.float64)
    if not np.isfinite(difference).all():
        return float("nan")
    mean_square = float(np.mean(difference**2))
    return EXACT_DB if mean_square == 0 else min(EXACT_DB, -10.0 * float(np.log10(mean_square)))


def ssim(frame: Array, gold: Array) -> float:
    """Structural similarity of frames (1, 3, H, W) in [0, 1]; 1 is identical, nan for what is not finite.

    Source: Wang et al. 2004, as scikit-image computes it over a sliding window, mean over pixels and channels.
    """
    found, exact = (a.astype(np.float64)[0] for a in (frame, gold))
    if not (np.isfinite(found).all() and np.isfinite(exact).all()):
        return float("nan")
    smallest = min(SSIM_WINDOW, *exact.shape[1:])
    window = smallest - 1 + smallest % 2
    if window < 3:
        return 1.0 if np.array_equal(found, exact) else float("nan")
    return float(structural_similarity(exact, found, channel_axis=0, data_range=1.0, win_size=window))


def change_last_bits(array: Array, precision: Precision, generator: np.random.Generator) -> Array:
    """Every value one unit in the last place of `precision` away, up or down at random; zeros and integers stay."""
    if not is_float(array):
        return array
    exact = array.astype(np.float64)
    signs = generator.choice((-1.0, 1.0), size=array.shape)
    return (exact + signs * 2 * UNIT_ROUNDOFF[precision] * np.abs(exact)).astype(array.dtype)


def is_float(array: Array) -> bool:
    """Whether the array holds real numbers; bfloat16, which is no numpy dtype, among them."""
    return np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"


def find_not_finite(arrays: Mapping[str, Array]) -> str | None:
    """The first name whose array holds nan or inf, None when all are finite."""
    for name, array in arrays.items():
        if is_float(array) and not np.isfinite(array.astype(np.float64)).all():
            return name
    return None
