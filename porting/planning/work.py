"""The work of a model that is only planned: closed formulas' results, in elements, so that any format can size them."""

from porting.profile import Format
from porting.tensor_spec import Model

BITS: dict[Format, float] = {
    "fp64": 64,
    "fp32": 32,
    "tf32": 32,
    "bf16": 16,
    "fp16": 16,
    "fp8": 8,
    "fp6": 6,
    # A block of 32 shares a scale of 8 bits (OCP MX), one of 16 shares an e4m3 scale (NVFP4).
    "mxfp8": 8.25,
    "mxfp6": 6.25,
    "mxfp4": 4.25,
    "nvfp4": 4.5,
}
"""Of one stored weight, scales included."""


def state_bits(number_format: Format) -> float:
    """Of one element of state, input or output: never below 16, whatever the weights are in."""
    return max(BITS[number_format], 16)


class PlannedComponent(Model):
    """One component that the frame program calls, by its formula; amounts are of one call."""

    name: str
    calls_per_frame: int
    parameters: int
    """Of those that the call reads."""
    matrix_flops: int
    attention_flops: int
    """The part of them that grows with the window."""
    input_elements: int
    output_elements: int

    def nbytes(self, number_format: Format, sessions: int = 1) -> float:
        """Compulsory bytes of a call for so many sessions: weights once, all else each."""
        weights = self.parameters * BITS[number_format] / 8
        moved = (self.input_elements + self.output_elements) * state_bits(number_format) / 8
        return weights + sessions * moved


class Transformer(Model):
    """What splitting over several devices depends on."""

    component: str
    layers: int
    width: int
    heads: int
    mlp_width: int
    tokens: int
    """Of one frame."""


class PlannedModel(Model):
    """A world model that nobody needs to have built."""

    name: str
    family: str
    source: str
    """"checkpoint" or "config", and where."""
    frame_width: int
    frame_height: int
    parameters: int
    """Components that only open a session included."""
    components: tuple[PlannedComponent, ...]
    state_elements: int
    spare_elements: int
    """A second copy of the states that are replaced: buffers swap places."""
    copied_elements: int
    """Read and written between the calls of a frame: slices into rings, inputs taken."""
    transformer: Transformer

    @property
    def flops_per_frame(self) -> int:
        """Products of matrices alone."""
        return sum(part.calls_per_frame * part.matrix_flops for part in self.components)

    def bytes_per_frame(self, number_format: Format) -> float:
        """Compulsory traffic of a frame of one session."""
        called = sum(part.calls_per_frame * part.nbytes(number_format) for part in self.components)
        return called + self.copied_elements * state_bits(number_format) / 8

    def weight_bytes(self, number_format: Format) -> float:
        """All weights in a format."""
        return self.parameters * BITS[number_format] / 8

    def state_bytes(self, number_format: Format) -> float:
        """What a session holds between frames, one copy of each state."""
        return self.state_elements * state_bits(number_format) / 8

    def session_bytes(self, number_format: Format) -> float:
        """What a session takes of a device's memory: its states, and spares of those that are replaced."""
        return (self.state_elements + self.spare_elements) * state_bits(number_format) / 8
