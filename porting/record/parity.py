"""How close a port is to PyTorch, at three levels."""

import math

from porting.tensor_spec import Model, Precision


class OutputParity(Model):
    """One output of one component on one kind of input, worst over the samples."""

    component: str
    backend: str
    output: str
    inputs: str
    """"trace", or the name of the hard input: "constant rows", "large values", "empty ring", ..."""
    samples: int
    error_port: float
    """|port - gold| / |gold|, Frobenius norms."""
    error_eager: float
    ratio: float
    """error_port over error_eager; eager's error is taken as at least one unit in the last place."""
    max_abs: float
    unit: str
    sqnr_db: float
    cosine: float
    finite: bool

    @property
    def measured(self) -> bool:
        """False for no samples or anything that is not a number: such evidence passes nothing."""
        return self.samples > 0 and self.finite and math.isfinite(self.ratio)


class TeacherForced(Model):
    """Every frame starts from the reference's state; one entry a frame, that of the session with the worst ratio."""

    output: str
    """A value or a state that a frame writes."""
    error_port: tuple[float, ...]
    error_eager: tuple[float, ...]
    ratio: tuple[float, ...]


class FreeRunning(Model):
    """The port feeds itself. Per frame, against the reference's rollout; worst over the sessions.

    The envelope is what the reference does to itself: the lowest PSNR, up to and including each frame, over its own
    reruns at the same precision with last-bit changes of the inputs.
    """

    psnr_db: tuple[float, ...]
    ssim: tuple[float, ...]
    envelope_psnr_db: tuple[float, ...]
    envelope_ssim: tuple[float, ...]
    envelope_members: int
    sessions: int = 0
    first_failing_frame: int | None
    """First frame that `ParityBudget.holds_frame` refuses; None when it refuses none of those that were run."""
    reference_frames: str
    """Folder of the frames themselves, relative to the bundle: `rollout_reference.png`, `rollout_port.png` and
    `rollout_difference.png`, uint8, one row a session, one column a frame."""
    difference_gain: float = 1.0
    """What `rollout_difference.png` is amplified by, so that the worst pixel is white."""


class ParityEvidence(Model):
    """All three levels. An empty level was not measured; a shorter one than the budget asks for passes nothing."""

    outputs: tuple[OutputParity, ...]
    """Every output of every component has an entry for "trace"; one without samples is not measured."""
    teacher_forced: tuple[TeacherForced, ...]
    free_running: FreeRunning | None
    gold: Precision
    seconds: float
    dropped: tuple[str, ...] = ()
    """Hard inputs that the reference itself does not survive: component, name and reason."""
