"""A small port whose every check passes; tests break one thing in it at a time."""

from typing import Any

from porting.profile import Profile
from porting.program import Call, ComponentSpec, InputSpec, Program, RingSpec, Sink, Source, StateSpec
from porting.record import (
    ArtifactRecord,
    Attestation,
    CallSpan,
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
    Verdict,
    Viewer,
    Waterfall,
)
from porting.tensor_spec import TensorSpec
from porting.verdict import judge_target

FRAMES = 6
TARGET = "cpu"


def judge(record: PortRecord, highest: Step = Step.THROUGHPUT) -> Verdict:
    return judge_target(record, TARGET, highest)


def with_target(record: PortRecord, **changes: Any) -> PortRecord:
    """The record with fields of its one target changed."""
    return record.model_copy(update={"targets": {TARGET: record.targets[TARGET].model_copy(update=changes)}})


def with_parity(record: PortRecord, **changes: Any) -> PortRecord:
    parity = record.targets[TARGET].parity
    assert parity is not None
    return with_target(record, parity=parity.model_copy(update=changes))


def with_free_running(record: PortRecord, **changes: Any) -> PortRecord:
    parity = record.targets[TARGET].parity
    assert parity is not None
    assert parity.free_running is not None
    return with_parity(record, free_running=parity.free_running.model_copy(update=changes))


def with_throughput(record: PortRecord, **changes: Any) -> PortRecord:
    timed = record.targets[TARGET].throughput
    assert timed is not None
    return with_target(record, throughput=timed.model_copy(update=changes))


def make_record() -> PortRecord:
    """Two components: a dreamer with a ring, a decoder with a cache; ported by one backend, all well."""
    program = make_program()
    components = (
        _component("dreamer", ("keys",), ("keys",), ("closed loop", "reset", "aliasing", "wrap-around", "sink")),
        _component("decoder", ("cache",), ("cache",), ("closed loop", "reset", "aliasing")),
    )
    host = Host(
        machine="x86_64",
        cpu="a processor",
        cores=2,
        memory_bytes=2**34,
        system="Linux 6",
        python="3.11.7",
        packages={"numpy": "2.4.6"},
        threads=2,
    )
    target = TargetRecord(
        profile=make_profile(),
        precision="fp32",
        artifacts=tuple(_artifact(name) for name in ("dreamer", "decoder")),
        parity=_parity(program),
        throughput=_throughput(host),
    )
    return PortRecord(
        worldport="0.1.0",
        created="2026-11-22T00:00:00Z",
        command="worldport port",
        host=host,
        checkpoint=CheckpointRecord(name="toy", family="gwm", digest="0" * 64, parameters=1, weight_bytes=4),
        program=program,
        components=components,
        targets={TARGET: target},
    )


def make_profile() -> Profile:
    return Profile.model_validate(
        {
            "schema": 1,
            "name": "cpu",
            "title": "A CPU",
            "device": {"kind": "cpu"},
            "compile": {"backends": ["onnxruntime"], "precisions": ["fp32"], "opset": 20},
            "parity": {
                "error_budget_ratio": 2.0,
                "envelope_margin_db": 3.0,
                "psnr_cap_db": 100.0,
                "component_samples": 2,
                "teacher_forced_frames": FRAMES,
                "free_running_frames": FRAMES,
            },
            "throughput": {
                "frames_per_second": 24.0,
                "max_missed_share": 0.01,
                "max_memory_slope_bytes_per_frame": 256.0,
                "timed_frames": 240,
                "paced_frames": 72,
            },
        }
    )


def make_program() -> Program:
    noise, latent = (TensorSpec(name=n, shape=(1, 4), dtype="float32") for n in ("noise", "latent"))
    keys = TensorSpec(name="keys", shape=(1, 5, 4), dtype="float32")
    new_keys = TensorSpec(name="new_keys", shape=(1, 4), dtype="float32")
    cache, next_cache = (TensorSpec(name=n, shape=(1, 4), dtype="float32") for n in ("cache", "next_cache"))
    frame = TensorSpec(name="frame", shape=(1, 3, 4, 4), dtype="float32")
    dream = Call(
        component="dreamer",
        inputs={"noise": Source(kind="input", name="noise"), "keys": Source(kind="state", name="keys")},
        outputs={"latent": Sink(kind="value", name="latent"), "new_keys": Sink(kind="state", name="keys")},
    )
    decode = Call(
        component="decoder",
        inputs={"latent": Source(kind="value", name="latent"), "cache": Source(kind="state", name="cache")},
        outputs={"frame": Sink(kind="value", name="frame"), "next_cache": Sink(kind="state", name="cache")},
    )
    return Program(
        components=(
            ComponentSpec(name="dreamer", inputs=(noise, keys), outputs=(latent, new_keys)),
            ComponentSpec(name="decoder", inputs=(latent, cache), outputs=(frame, next_cache)),
        ),
        inputs=(InputSpec(tensor=noise, scope="frame", kind="noise"),),
        rings=(RingSpec(name="memory", window=5, sink=1),),
        states=(
            StateSpec(tensor=keys, update="ring", ring="memory", slot_axis=1),
            StateSpec(tensor=cache, update="replace"),
        ),
        prime=(),
        frame=(dream, decode),
    )


def _component(
    name: str, states_in: tuple[str, ...], states_out: tuple[str, ...], exercised: tuple[str, ...]
) -> ComponentRecord:
    contract = StateContract(states_in=states_in, states_out=states_out, exercised=exercised, max_relative_error=2e-7)
    return ComponentRecord(
        name=name,
        path=f"components/{name}.onnx",
        opset=20,
        nodes=3,
        parameters=10,
        weight_bytes=40,
        operators={"Add": 3},
        contract=contract,
        export_seconds=1.0,
    )


def _artifact(component: str) -> ArtifactRecord:
    return ArtifactRecord(
        component=component,
        backend="onnxruntime",
        precision="fp32",
        path=f"targets/cpu/{component}.onnxruntime.onnx",
        files=(f"targets/cpu/{component}.onnxruntime.onnx",),
        compile_seconds=1.0,
        attestation=Attestation(
            precision_asked="fp32",
            layers_by_precision={"fp32": 3, "int64": 1},
            layers_by_backend={"CPUExecutionProvider": 4},
            read_from="onnxruntime profile",
        ),
        median_ms=1.0,
        call_ms=(1.0, 1.0),
        chosen=True,
    )


def make_output(component: str, output: str, inputs: str, **changes: Any) -> OutputParity:
    made = OutputParity(
        component=component,
        backend="onnxruntime",
        output=output,
        inputs=inputs,
        samples=4,
        error_port=1.2e-7,
        error_eager=1.0e-7,
        ratio=1.2,
        max_abs=1e-6,
        unit="latent standard deviations",
        sqnr_db=138.0,
        cosine=1.0,
        finite=True,
    )
    return made.model_copy(update=changes)


def _parity(program: Program) -> ParityEvidence:
    outputs = tuple(
        make_output(component.name, tensor.name, inputs)
        for component in program.components
        for tensor in component.outputs
        for inputs in ("trace", "large values")
    )
    level = {"error_port": (1.1e-7,) * FRAMES, "error_eager": (1.0e-7,) * FRAMES, "ratio": (1.1,) * FRAMES}
    free = FreeRunning(
        psnr_db=(110.0, 99.0, 95.0, 93.0, 91.0, 90.0),
        ssim=(0.9999,) * FRAMES,
        envelope_psnr_db=(120.0, 101.0, 96.0, 92.0, 91.0, 91.0),
        envelope_ssim=(0.9999,) * FRAMES,
        envelope_members=4,
        sessions=2,
        first_failing_frame=None,
        reference_frames="targets/cpu",
        difference_gain=100.0,
    )
    return ParityEvidence(
        outputs=outputs,
        teacher_forced=tuple(TeacherForced(output=n, **level) for n in ("latent", "keys", "frame", "cache")),
        free_running=free,
        gold="fp64",
        seconds=3.0,
    )


def make_driver(name: str, ms: float, **changes: Any) -> DriverTiming:
    made = DriverTiming(
        name=name,
        frames_per_second=1000.0 / ms,
        frame_ms=Distribution(frames=144, mean=ms, p50=ms, p90=ms, p99=ms, max=ms),
        ratio_to_eager=40.0 / ms,
        ratio_low=39.0 / ms,
        ratio_high=41.0 / ms,
        rounds=6,
    )
    return made.model_copy(update=changes)


def _throughput(host: Host) -> ThroughputEvidence:
    return ThroughputEvidence(
        host=host,
        deadline_ms=1000.0 / 24.0,
        frame_ms=Distribution(frames=240, mean=10.0, p50=9.9, p90=10.5, p99=12.0, max=15.0),
        frames_per_second=100.0,
        time_to_first_frame_ms=80.0,
        load_ms=500.0,
        warmup_frames=6,
        closed_loop=Pacing(frames=240, missed=0, longest_stall_ms=0.0, jitter_ms=0.4),
        paced=Pacing(frames=72, missed=0, longest_stall_ms=0.0, jitter_ms=0.1),
        drivers=(make_driver("port", 10.0), make_driver("eager", 40.0), make_driver("torch.compile", 20.0)),
        memory_high_water_bytes=2**29,
        memory_slope_bytes_per_frame=12.0,
        host_overhead_share=0.02,
        frames_file="targets/cpu/frames.csv",
        valid=True,
        unchanged_frames=0,
        **_details(),
    )


def _details() -> dict[str, Any]:
    """How long actions wait, what a viewer sees, where time goes, a soak, sessions and energy."""
    spans = (
        CallSpan(what="copy", start_ms=0.0, duration_ms=0.1, gap_ms=0.0),
        CallSpan(what="denoiser", call=0, start_ms=0.1, duration_ms=6.0, gap_ms=0.0),
        CallSpan(what="decoder", call=0, start_ms=6.2, duration_ms=3.6, gap_ms=0.1),
    )
    closed, paced = (
        Distribution(frames=frames, mean=10.0, p50=9.9, p90=10.5, p99=12.0, max=15.0) for frames in (240, 72)
    )
    return {
        "latency": Latency(closed_loop_ms=closed, paced_ms=paced, chunk_frames=1, longest_wait_ms=1000.0 / 24.0),
        "viewers": (Viewer(buffer_frames=0, start_delay_ms=10.0, underruns=2, stalled_ms=5.0),),
        "spent": (
            ComponentTime(what="denoiser", calls_per_frame=1.0, ms_per_frame=6.0, share=0.6),
            ComponentTime(what="decoder", calls_per_frame=1.0, ms_per_frame=3.8, share=0.38),
            ComponentTime(what="copy", calls_per_frame=1.0, ms_per_frame=0.1, share=0.01),
            ComponentTime(what="host", calls_per_frame=0.0, ms_per_frame=0.1, share=0.01),
        ),
        "waterfalls": (Waterfall(which="median", frame=30, frame_ms=9.9, late_start_ms=0.0, spans=spans, tail_ms=0.1),),
        "soak": Soak(
            frames=2000,
            slowdown=1.01,
            slowdown_low=0.98,
            slowdown_high=1.03,
            memory_slope_bytes_per_frame=3.0,
            memory_growth_bytes=8192,
            host_overhead_share=0.02,
        ),
        "concurrency": Concurrency(
            asked=4,
            max_missed_share=make_profile().throughput.max_missed_share,
            loads=(
                SessionLoad(sessions=1, frames=72, missed=(0,), latency_ms=paced, holds=True),
                SessionLoad(sessions=2, frames=72, missed=(0, 0), latency_ms=paced, holds=True),
                SessionLoad(sessions=4, frames=0, missed=(), latency_ms=None, holds=False, error="MemoryError: no"),
            ),
            most_that_hold=2,
        ),
        "energy": Energy(source="RAPL", joules_per_frame=0.4, paced_joules_per_frame=0.9, watts=40.0),
    }
