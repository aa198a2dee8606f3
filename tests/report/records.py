"""Records made by hand: a port that passed, one that failed, one of which nothing was measured."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from porting.profile import Profile, read_profile
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.record import (
    ArtifactRecord,
    Attestation,
    CallSpan,
    Check,
    CheckpointRecord,
    ComponentRecord,
    ComponentTime,
    Concurrency,
    Distribution,
    DriverTiming,
    Energy,
    FreeRunning,
    Host,
    Latency,
    Outcome,
    OutputParity,
    Pacing,
    ParityEvidence,
    PortRecord,
    SessionLoad,
    Soak,
    StateContract,
    Step,
    TargetRecord,
    TeacherForced,
    ThroughputEvidence,
    TraceRecord,
    Verdict,
    Viewer,
    Waterfall,
)
from porting.tensor_spec import TensorSpec

PROJECT = Path(__file__).resolve().parents[2]
TEMPLATES = PROJECT / "reports"
BACKENDS = ("onnxruntime", "openvino", "inductor")
HOST = Host(
    machine="x86_64", cpu="Test CPU", cores=4, memory_bytes=2**34, system="Linux 6.1", python="3.11.2",
    packages={"numpy": "2.4.6", "onnxruntime": "1.31.1", "torch": "2.13.0"}, threads=2,
)  # fmt: skip


def cpu_profile() -> Profile:
    return read_profile(PROJECT / "profiles" / "cpu.toml")


def make_program() -> Program:
    latent = TensorSpec(name="latent", shape=(1, 4), dtype="float32")
    frame = TensorSpec(name="frame", shape=(1, 3, 8, 8), dtype="float32", unit="of full brightness")
    key = TensorSpec(name="key_0", shape=(1, 2, 4, 4), dtype="float32")
    new_key = TensorSpec(name="new_key_0", shape=(1, 2, 4), dtype="float32")
    action = TensorSpec(name="action", shape=(1, 2), dtype="float32")
    denoiser = ComponentSpec(name="denoiser", inputs=(action, key), outputs=(latent, new_key))
    decoder = ComponentSpec(name="decoder", inputs=(latent,), outputs=(frame,))
    return Program(
        components=(denoiser, decoder),
        inputs=(InputSpec(tensor=action, scope="frame", kind="action"),),
        rings=(RingSpec(name="memory", window=4, sink=1),),
        states=(StateSpec(tensor=key, update="ring", ring="memory", slot_axis=2),),
        prime=(),
        frame=(
            Call(
                component="denoiser",
                inputs={"action": Source(kind="input", name="action"), "key_0": Source(kind="state", name="key_0")},
                outputs={"latent": Sink(kind="value", name="latent"), "new_key_0": Sink(kind="state", name="key_0")},
            ),
            Call(
                component="decoder",
                inputs={"latent": Source(kind="value", name="latent")},
                outputs={"frame": Sink(kind="value", name="frame")},
            ),
        ),
    )


def make_component(name: str) -> ComponentRecord:
    contract = StateContract(
        states_in=("key_0",), states_out=("new_key_0",), exercised=("wrap-around", "sink", "reset", "aliasing"),
        max_relative_error=3.1e-7,
    )  # fmt: skip
    return ComponentRecord(
        name=name, path=f"components/{name}.onnx", opset=20, nodes=412, parameters=812_345, weight_bytes=3_249_380,
        operators={"MatMul": 40}, contract=contract, export_seconds=4.2,
    )  # fmt: skip


def make_artifacts(components: Sequence[str]) -> tuple[ArtifactRecord, ...]:
    times = {"onnxruntime": 2.41, "openvino": 3.87, "inductor": 4.02}
    return tuple(
        ArtifactRecord(
            component=component, backend=backend, precision="fp32", path=f"targets/cpu/{component}.{backend}",
            compile_seconds=3.5, median_ms=times[backend], call_ms=(times[backend],), chosen=backend == "onnxruntime",
            attestation=Attestation(
                precision_asked="fp32", layers_by_precision={"fp32": 212, "int64": 3}, layers_by_backend={"CPU": 215},
                read_from=f"{backend} profile",
            ),
        )
        for component in components
        for backend in BACKENDS
    )  # fmt: skip


def make_parity(frames: int, components: Sequence[str], failing: int | None = None) -> ParityEvidence:
    """Parity of `frames` frames; from frame `failing` on PSNR is far under the envelope."""
    generator = np.random.default_rng(0)
    envelope = np.minimum.accumulate(96 - 14 * np.log1p(np.arange(frames)) + generator.normal(0, 0.4, frames))
    psnr = envelope + np.abs(generator.normal(1.5, 1.0, frames))
    if failing is not None:
        psnr[failing:] -= 9 + 4 * np.log1p(np.arange(frames - failing))
    ssim = 1 - 10 ** (-psnr / 22)
    rows = [
        OutputParity(
            component=component, backend=backend, output="latent" if component == "denoiser" else "frame",
            inputs=inputs, samples=12, error_port=4.1e-7 * scale, error_eager=3.6e-7, ratio=1.14 * scale,
            max_abs=2.3e-6, unit="of full brightness", sqnr_db=127.8, cosine=1 - 1e-13, finite=True,
        )
        for component in components
        for backend, scale in zip(BACKENDS, (1.0, 1.3, 0.9), strict=True)
        for inputs in ("trace", "constant rows", "large values", "empty ring")
    ]  # fmt: skip
    ratios = 1 + 0.25 * generator.random((4, frames))
    forced = tuple(
        TeacherForced(
            output=output, error_port=tuple(3e-7 * r for r in row), error_eager=(3e-7,) * frames, ratio=tuple(row),
        )
        for output, row in zip(("frame", "latent", "key_0", "history"), ratios.tolist(), strict=True)
    )  # fmt: skip
    free = FreeRunning(
        psnr_db=tuple(psnr.tolist()), ssim=tuple(ssim.tolist()), envelope_psnr_db=tuple(envelope.tolist()),
        envelope_ssim=tuple((1 - 10 ** (-envelope / 22)).tolist()), envelope_members=4, sessions=2,
        first_failing_frame=failing, reference_frames="targets/cpu", difference_gain=240.0,
    )  # fmt: skip
    return ParityEvidence(outputs=tuple(rows), teacher_forced=forced, free_running=free, gold="fp64", seconds=20.0)


def make_throughput(valid: bool = True) -> ThroughputEvidence:
    def spread(p50: float) -> Distribution:
        return Distribution(frames=240, mean=p50 * 1.03, p50=p50, p90=p50 * 1.1, p99=p50 * 1.4, max=p50 * 2.2)

    drivers = tuple(
        DriverTiming(
            name=name, frames_per_second=1000 / ms, frame_ms=spread(ms), ratio_to_eager=38.2 / ms,
            ratio_low=36 / ms, ratio_high=41 / ms, rounds=6,
        )
        for name, ms in (("port", 9.8), ("eager", 38.2), ("torch.compile", 14.1), ("openvino", 13.0))
    )  # fmt: skip
    return ThroughputEvidence(
        host=HOST, deadline_ms=1000 / 24, frame_ms=spread(9.8), frames_per_second=102.0, time_to_first_frame_ms=61.0,
        load_ms=240.0, warmup_frames=8, closed_loop=Pacing(frames=240, missed=0, longest_stall_ms=0.0, jitter_ms=0.7),
        paced=Pacing(frames=72, missed=1, longest_stall_ms=3.2, jitter_ms=0.9), drivers=drivers,
        memory_high_water_bytes=412 * 2**20, memory_slope_bytes_per_frame=12.0, host_overhead_share=0.021,
        frames_file="targets/cpu/frames.csv", valid=valid,
        disturbances=() if valid else ("load of other processes: 3.2",),
        unchanged_frames=0, not_run={"tensorrt": "no device here"}, **make_details(spread(9.8)),
    )  # fmt: skip


def make_details(spread: Distribution) -> dict[str, Any]:
    """What is told beside rates: waiting, viewers, where time goes, sessions, a soak, energy."""
    waterfalls = tuple(
        Waterfall(
            which=which, frame=frame, frame_ms=9.8 * scale, late_start_ms=late, tail_ms=0.2 * scale,
            spans=(
                CallSpan(what="copy", start_ms=0.0, duration_ms=0.1 * scale, gap_ms=0.0),
                CallSpan(what="denoiser", call=0, start_ms=0.2 * scale, duration_ms=6.0 * scale, gap_ms=0.1 * scale),
                CallSpan(what="decoder", call=0, start_ms=6.2 * scale, duration_ms=3.4 * scale, gap_ms=0.0),
            ),
        )
        for which, frame, scale, late in (("median", 31, 1.0, 0.0), ("worst", 57, 2.2, 1.5))
    )  # fmt: skip
    return {
        "latency": Latency(closed_loop_ms=spread, paced_ms=spread, chunk_frames=1, longest_wait_ms=1000 / 24),
        "viewers": (Viewer(buffer_frames=0, start_delay_ms=9.9, underruns=3, stalled_ms=4.25),),
        "spent": (
            ComponentTime(what="denoiser", calls_per_frame=1.0, ms_per_frame=6.1, share=0.61),
            ComponentTime(what="host", calls_per_frame=0.0, ms_per_frame=3.9, share=0.39),
        ),
        "waterfalls": waterfalls,
        "soak": Soak(
            frames=20_000, slowdown=1.02, slowdown_low=0.97, slowdown_high=1.06, memory_slope_bytes_per_frame=3.5,
            memory_growth_bytes=65536, host_overhead_share=0.02,
        ),
        "concurrency": Concurrency(
            asked=8, max_missed_share=0.01, most_that_hold=3,
            loads=(
                SessionLoad(sessions=3, frames=72, missed=(0, 0, 0), latency_ms=spread, holds=True),
                SessionLoad(sessions=4, frames=0, missed=(), latency_ms=None, holds=False, error="no <room> left"),
            ),
        ),
        "energy": Energy(source="RAPL", joules_per_frame=0.41, watts=42.0, reason="paced: the counter stood still"),
    }  # fmt: skip


def make_check(step: Step, name: str, outcome: Outcome = Outcome.PASSED, **figures: float) -> Check:
    reason = f"{name} is {figures.get('value', 'there')}, the limit is {figures.get('limit', 'none')}"
    return Check(step=step, name=name, subject="decoder", outcome=outcome, reason=reason, **figures)


def make_record(targets: dict[str, TargetRecord], frames: int = 24) -> PortRecord:
    return PortRecord(
        worldport="0.1.0", created="2026-11-22T12:00:00+00:00", command="worldport port bundled:gwm-mini-worlds",
        host=HOST, program=make_program(), targets=targets,
        checkpoint=CheckpointRecord(
            name="gwm-mini-worlds", family="gwm", digest="ab" * 32, parameters=812_345, weight_bytes=3_249_380,
        ),
        components=(make_component("denoiser"), make_component("decoder")),
        trace=TraceRecord(
            path="trace", sessions=2, frames=frames, precision="fp32", gold="fp64", seed=7, source="held-out scenes",
        ),
    )  # fmt: skip


def passing(frames: int = 24) -> PortRecord:
    checks = (
        make_check(Step.EXPORTED, "state contract", value=3.1e-7, limit=1e-5),
        make_check(Step.COMPILED, "artifacts"),
        make_check(Step.ATTESTED, "precision"),
        make_check(Step.PARITY, "error budget ratio", value=1.14, limit=2.0),
        make_check(Step.THROUGHPUT, "missed deadlines", value=0.0, limit=0.01),
    )
    verdict = Verdict(outcome=Outcome.PASSED, reached=Step.THROUGHPUT, highest_possible=Step.THROUGHPUT, checks=checks)
    names = ("denoiser", "decoder")
    target = TargetRecord(
        profile=cpu_profile(), precision="fp32", artifacts=make_artifacts(names), parity=make_parity(frames, names),
        throughput=make_throughput(), verdict=verdict,
    )  # fmt: skip
    return make_record({"cpu": target}, frames)


def failing(frames: int = 24, frame: int = 9) -> PortRecord:
    """Fails at parity: drift from `frame` on, one output over its budget, one that is NaN, one artifact missing."""
    names = ("denoiser", "decoder")
    first, second, *others = (parity := make_parity(frames, names, frame)).outputs
    outputs = (
        first.model_copy(update={"ratio": 41.0}),
        second.model_copy(update={"ratio": math.nan, "finite": False}),
        *others,
    )
    artifacts = list(make_artifacts(names))
    artifacts[1] = artifacts[1].model_copy(
        update={"path": None, "error": "RuntimeError: no <kernel> for Attention", "median_ms": None}
    )
    checks = (
        make_check(Step.EXPORTED, "state contract", value=3.1e-7, limit=1e-5),
        make_check(Step.COMPILED, "artifacts"),
        make_check(Step.ATTESTED, "precision"),
        make_check(Step.PARITY, "error budget ratio", Outcome.FAILED, value=41.0, limit=2.0),
        make_check(Step.PARITY, "first failing frame", Outcome.FAILED, value=frame),
        make_check(Step.THROUGHPUT, "frames per second", Outcome.NOT_MEASURED),
    )
    verdict = Verdict(outcome=Outcome.FAILED, reached=Step.ATTESTED, highest_possible=Step.THROUGHPUT, checks=checks)
    target = TargetRecord(
        profile=cpu_profile(), precision="fp32", artifacts=tuple(artifacts),
        parity=parity.model_copy(update={"outputs": outputs}), throughput=make_throughput(valid=False), verdict=verdict,
    )  # fmt: skip
    return make_record({"cpu": target}, frames)


def not_measured() -> PortRecord:
    """A target that this host cannot run, of which nothing was even compiled."""
    check = make_check(Step.COMPILED, "artifacts", Outcome.NOT_MEASURED)
    verdict = Verdict(
        outcome=Outcome.NOT_MEASURED, reached=Step.EXPORTED, highest_possible=Step.ATTESTED, checks=(check,)
    )
    target = TargetRecord(profile=cpu_profile(), precision="fp32", verdict=verdict)
    return make_record({"cpu": target}).model_copy(update={"trace": None})


def write_bundle(folder: Path, record: PortRecord, side: int = 8) -> Path:
    """The files that a record names: frame times and sheets of frames of `side` pixels."""
    for target in record.targets.values():
        if target.parity and target.parity.free_running:
            write_sheets(folder, target.parity.free_running, side)
        if target.throughput:
            write_frame_times(folder / target.throughput.frames_file)
    return folder


def write_sheets(folder: Path, free: FreeRunning, side: int) -> None:
    frames, sessions = len(free.psnr_db), free.sessions
    if not frames:
        return
    rows, columns = np.mgrid[:side, :side] / side
    reference = np.zeros((sessions, side, frames, side, 3), np.uint8)
    port = reference.copy()
    for session in range(sessions):
        for frame in range(frames):
            centre = 0.5 + 0.3 * math.sin(0.2 * frame + session)
            ball = (rows - 0.5) ** 2 + (columns - centre) ** 2 < 0.03
            reference[session, :, frame] = np.where(ball[..., None], (230, 120, 40), (40, 60 + 40 * session, 90))
            late = free.first_failing_frame is not None and frame >= free.first_failing_frame
            moved = np.roll(reference[session, :, frame], 1 + session if late else 0, axis=1)
            port[session, :, frame] = moved
    target = folder / free.reference_frames
    target.mkdir(parents=True, exist_ok=True)
    difference = np.abs(reference.astype(int) - port).clip(0, 255).astype(np.uint8)
    for kind, pixels in (("reference", reference), ("port", port), ("difference", difference)):
        image = Image.fromarray(pixels.reshape(sessions * side, frames * side, 3))
        image.save(target / f"rollout_{kind}.png")


def write_frame_times(path: Path, frames: int = 60) -> None:
    generator = np.random.default_rng(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    plan = [("port", "closed-loop", 0, 9.8), ("port", "paced", 0, 10.4)]
    plan += [
        (name, "closed-loop", round_, ms)
        for round_ in (1, 2)
        for name, ms in (("eager", 38.2), ("port", 9.8), ("torch.compile", 14.1), ("openvino", 13.0))
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["driver", "mode", "round", "frame", "phase", "warmup", "ms", "resident_bytes"])
        for driver, mode, round_, ms in plan:
            for frame in range(frames):
                warm = frame < 8
                time = ms * (1 + 0.15 * generator.random()) * (1.6 if warm else 1)
                phase = "warm-up" if warm else "timed"
                memory = 400 * 2**20 + 4096 * frame if round_ == 0 else ""
                writer.writerow([driver, mode, round_, frame, phase, int(warm), f"{time:.4f}", memory])


def write_noise_sheets(folder: Path, free: FreeRunning, side: int) -> None:
    """Sheets that no coder makes small."""
    generator = np.random.default_rng(2)
    for kind in ("reference", "port", "difference"):
        shape = (free.sessions * side, len(free.psnr_db) * side, 3)
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(
            folder / free.reference_frames / f"rollout_{kind}.png", compress_level=0
        )
