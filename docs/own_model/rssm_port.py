"""What worldport is told about the RSSM: its graphs, what is kept between them, and what comes from outside."""

from rssm import ACTION, DETERMINISTIC, STOCHASTIC, Rssm
from torch import Tensor, nn

from porting.adapters.samples import find_samples
from porting.adapters.world_model import WorldModel
from porting.checkpoint import Checkpoint
from porting.program import Call, ComponentSpec, InputSpec, Program, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

CONTEXT = 4


class Graph(nn.Module):
    """One graph over the model's weights."""

    def __init__(self, model: Rssm) -> None:
        super().__init__()
        self.model = model


class Observe(Graph):
    """What opens a session."""

    def forward(self, picture: Tensor, action: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return self.model.observe(picture, action, h, z)


class Imagine(Graph):
    """What makes a frame."""

    def forward(self, action: Tensor, noise: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return self.model.imagine(action, noise, h, z)


def tensor(name: str, *shape: int) -> TensorSpec:
    """A float32 tensor of that shape."""
    return TensorSpec(name=name, shape=shape, dtype="float32")


H, Z = tensor("h", 1, DETERMINISTIC), tensor("z", 1, STOCHASTIC)
ACTION_TENSOR, NOISE = tensor("action", 1, ACTION), tensor("noise", 1, STOCHASTIC)
OBSERVE = ComponentSpec(
    name="observe", inputs=(tensor("picture", 1, 3, 32, 32), ACTION_TENSOR, H, Z),
    outputs=(tensor("next_h", *H.shape), tensor("next_z", *Z.shape)),
)  # fmt: skip
IMAGINE = ComponentSpec(
    name="imagine", inputs=(ACTION_TENSOR, NOISE, H, Z), outputs=(*OBSERVE.outputs, tensor("frame", 1, 3, 32, 32))
)
KEPT = {name: Source(kind="state", name=name) for name in ("h", "z")}
KEEP = {"next_h": Sink(kind="state", name="h"), "next_z": Sink(kind="state", name="z")}
PROGRAM = Program(
    components=(OBSERVE, IMAGINE),
    inputs=(
        InputSpec(tensor=tensor("pictures", 1, CONTEXT, 3, 32, 32), scope="session", kind="context"),
        InputSpec(tensor=tensor("actions", 1, CONTEXT, ACTION), scope="session", kind="action"),
        InputSpec(tensor=ACTION_TENSOR, scope="frame", kind="action"),
        InputSpec(tensor=NOISE, scope="frame", kind="noise"),
    ),
    states=(StateSpec(tensor=H, update="replace"), StateSpec(tensor=Z, update="replace")),
    prime=tuple(
        Call(component="observe", outputs=KEEP, inputs={
            "picture": Source(kind="input", name="pictures", at=t),
            "action": Source(kind="input", name="actions", at=t), **KEPT,
        }) for t in range(CONTEXT)
    ),
    frame=(Call(component="imagine", outputs={**KEEP, "frame": Sink(kind="value", name="frame")}, inputs={
        "action": Source(kind="input", name="action"), "noise": Source(kind="input", name="noise"), **KEPT,
    }),),
)  # fmt: skip


def load(checkpoint: Checkpoint) -> WorldModel:
    """What `worldport port rssm_port:load --checkpoint FILE` calls."""
    model = Rssm()
    model.load_state_dict(checkpoint.load())
    modules: dict[str, nn.Module] = {"observe": Observe(model).eval(), "imagine": Imagine(model).eval()}
    return WorldModel("rssm", "rssm", checkpoint.digest(), {}, PROGRAM, modules, *find_samples(checkpoint, PROGRAM))
