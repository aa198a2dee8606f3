"""A world model of one tiny honest component, for tests to sabotage."""

import torch
from torch import Tensor, nn

from porting.adapters.world_model import WorldModel
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.tensor_spec import TensorSpec

WIDTH = 4
WINDOW = 5


def tensor(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec.model_validate({"name": name, "shape": shape, "dtype": dtype})


def small_program() -> Program:
    """One component, `step`: (action, memory, age, ring) -> (frame, next_memory, new_ring)."""
    row = tensor("row", 1, WIDTH)
    named = {name: row.model_copy(update={"name": name}) for name in ("action", "memory", "frame", "next_memory")}
    ring, new_ring = tensor("ring", 1, WINDOW, WIDTH), tensor("new_ring", 1, WIDTH)
    call = Call(
        component="step",
        inputs={
            "action": Source(kind="input", name="action"),
            "memory": Source(kind="state", name="memory"),
            "age": Source(kind="age", name="clock"),
            "ring": Source(kind="state", name="ring"),
        },
        outputs={
            "frame": Sink(kind="value", name="frame"),
            "next_memory": Sink(kind="state", name="memory"),
            "new_ring": Sink(kind="state", name="ring"),
        },
    )
    return Program(
        components=(
            ComponentSpec(
                name="step",
                inputs=(named["action"], named["memory"], tensor("age", WINDOW, dtype="int64"), ring),
                outputs=(named["frame"], named["next_memory"], new_ring),
            ),
        ),
        inputs=(InputSpec(tensor=named["action"], scope="frame", kind="action"),),
        rings=(RingSpec(name="clock", window=WINDOW, sink=1),),
        states=(
            StateSpec(tensor=named["memory"], update="replace"),
            StateSpec(tensor=ring, update="ring", ring="clock", slot_axis=1),
        ),
        prime=(),
        frame=(call,),
    )


class Mixer(nn.Module):
    """Attends to the ring's written slots; sabotages replace it."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, age: Tensor, ring: Tensor) -> Tensor:
        scores = (ring * self.query(x)[:, None]).sum(-1).masked_fill(age == 0, -1e4)
        return (torch.softmax(scores, -1)[..., None] * ring).sum(1)


class Step(nn.Module):
    """An honest component: everything that it keeps goes in and comes out."""

    def __init__(self, mixer: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixer = mixer or Mixer()
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, action: Tensor, memory: Tensor, age: Tensor, ring: Tensor) -> tuple[Tensor, ...]:
        mixed = self.mixer(action + memory, age, ring)
        return torch.tanh(self.out(mixed + action)), 0.5 * memory + mixed, torch.tanh(action + memory)


def small_model(module: nn.Module, program: Program | None = None) -> WorldModel:
    """A world model of the one component `step`, in eval mode."""
    return WorldModel(
        name="small",
        family="test",
        digest="0" * 64,
        config={},
        program=program or small_program(),
        modules={"step": module.eval()},
        samples=(),
        sample_source="",
    )


class Stack(nn.Module):
    """Square layers, one after another, over an input and a state."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False, device="meta") for _ in range(layers))
        for index, layer in enumerate(self.layers, start=1):  # equal weights would be stored once
            layer.weight = nn.Parameter(torch.empty(width, width).fill_(1 / (index * width)), requires_grad=False)

    def forward(self, action: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        x = action + memory
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x, torch.tanh(x)


def big_model(layers: int, width: int) -> WorldModel:
    """A model of layers * width**2 float32 weights, cheap to make and to run."""
    action, memory, frame, next_memory = (
        tensor(name, 1, width) for name in ("action", "memory", "frame", "next_memory")
    )
    program = Program(
        components=(ComponentSpec(name="step", inputs=(action, memory), outputs=(frame, next_memory)),),
        inputs=(InputSpec(tensor=action, scope="frame", kind="action"),),
        states=(StateSpec(tensor=memory, update="replace"),),
        prime=(),
        frame=(
            Call(
                component="step",
                inputs={"action": Source(kind="input", name="action"), "memory": Source(kind="state", name="memory")},
                outputs={
                    "frame": Sink(kind="value", name="frame"),
                    "next_memory": Sink(kind="state", name="memory"),
                },
            ),
        ),
    )
    return small_model(Stack(layers, width), program)
