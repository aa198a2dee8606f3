"""Stages that take no time, for the pipeline's own tests: they write a line into a log each time that they really run.

As a program it reads lines of a bundle, a log and a stage, apart by tabs. For each it runs one port in a process of its
own, which stops for ever in the middle of the stage, its files half written, so that a test can kill it there.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from porting.content import folder as content_folder
from porting.errors import CompileError, RunnerError
from porting.pipeline import port as port_module
from porting.pipeline.progress import Silent
from porting.pipeline.request import PortRequest
from porting.profile import Profile, read_profile
from porting.program import Program
from porting.record import (
    ArtifactRecord,
    Calibration,
    CalibrationSample,
    Check,
    ComponentRecord,
    ComponentWork,
    Distribution,
    DriverTiming,
    EmulatedKernel,
    FrameWork,
    FreeRunning,
    Host,
    Outcome,
    OutputParity,
    Pacing,
    ParityEvidence,
    PortRecord,
    StateContract,
    Step,
    ThroughputEvidence,
    Verdict,
)
from porting.roofline import settle_calibration

COMPONENTS = ("encoder", "decoder")
BACKENDS = ("openvino", "onnxruntime")


def make_program() -> Program:
    def tensor(name: str) -> dict[str, object]:
        return {"name": name, "shape": [1, 3, 2, 2], "dtype": "float32"}

    def call(component: str, source: dict[str, str], made: str) -> dict[str, object]:
        return {"component": component, "inputs": {"x": source}, "outputs": {"y": {"kind": "value", "name": made}}}

    return Program.model_validate(
        {
            "components": [{"name": n, "inputs": [tensor("x")], "outputs": [tensor("y")]} for n in COMPONENTS],
            "inputs": [{"tensor": tensor("action"), "scope": "frame", "kind": "action"}],
            "states": [],
            "prime": [],
            "frame": [
                call("encoder", {"kind": "input", "name": "action"}, "latent"),
                call("decoder", {"kind": "value", "name": "latent"}, "frame"),
            ],
        }
    )


def make_profile(**changes: Any) -> Profile:
    profile = read_profile(content_folder("profiles") / "cpu.toml")
    choice = profile.compile.model_copy(update={"backends": BACKENDS})
    return profile.model_copy(update={"compile": choice, **changes})


def make_request(out: Path, **changes: Any) -> PortRequest:
    given: dict[str, Any] = {
        "checkpoint": "fake",
        "profiles": (make_profile(),),
        "out": out,
        "precision": "fp32",
        "jobs": 1,
        "threads": 1,
        "command": "worldport port fake",
    }
    return PortRequest(**(given | changes))


class FakeRunner:
    def __init__(self, backend: str) -> None:
        self.backend = backend

    def close(self) -> None:
        pass


class Fakes:
    """What the pipeline calls, with knobs."""

    def __init__(self, log: Path, stop_at: str = "") -> None:
        self.log = log
        self.stop_at = stop_at
        self.digest = "a" * 64
        self.ratios: dict[tuple[str, str], float] = {}
        """(component, backend) -> error budget ratio; 1.0 where none is given."""
        self.call_ms: dict[str, float] = {"openvino": 2.0, "onnxruntime": 1.0, "inductor": 3.0}
        self.compile_errors: dict[str, str] = {}
        self.open_errors: dict[str, RunnerError] = {}
        self.broken: dict[str, Exception] = {}
        self.installed = {*BACKENDS, "inductor"}
        self.timed: list[dict[str, str]] = []

    def ran(self, name: str, folder: Path | None = None) -> None:
        """One line in the log; a stage that is to stop has written half of a file by then."""
        with self.log.open("a") as file:
            file.write(name + "\n")
        if name == self.stop_at:
            if folder is not None:
                (folder / "half").write_text("half")
            sys.stdout.write(f"stopped {os.getpid()}\n")
            sys.stdout.flush()
            time.sleep(600)
        if name in self.broken:
            raise self.broken[name]

    def load_world_model(self, name: str) -> Any:
        return SimpleNamespace(
            name="fake",
            family="fake",
            digest=self.digest,
            program=make_program(),
            modules={},
            samples=(None, None, None),
            sample_source="nothing",
            parameters=1,
            weight_bytes=4,
            use_kernels=dict,
        )

    def export_component(self, model: Any, component: str, out: Path, opset: int) -> ComponentRecord:
        self.ran(f"export {component}", out)
        (out / f"{component}.onnx").write_text(model.digest)
        contract = StateContract(states_in=(), states_out=(), exercised=("reset",), max_relative_error=0.0)
        return ComponentRecord(
            name=component,
            path=f"components/{component}.onnx",
            opset=opset,
            nodes=1,
            parameters=1,
            weight_bytes=4,
            operators={"Add": 1},
            contract=contract,
            export_seconds=0.0,
        )

    def export_kernel_variant(self, model: Any, component: str, out: Path, precision: str) -> None:
        self.ran(f"export {component} with kernels", out)
        out.mkdir()
        (out / f"{component}.triton.pt2").write_text(f"{model.digest} {precision}")

    def export_kernel_graph(self, model: Any, component: str, out: Path, opset: int, precision: str) -> None:
        (out / f"{component}.kernels.onnx").write_text(f"{model.digest} {opset} {precision}")

    def compile_kernels(self, kernels: Any, architecture: str, variants: Any, out: Path, jobs: int) -> tuple[Any, ...]:
        self.ran(f"kernels {architecture}", out)
        out.mkdir(parents=True)
        (out / "adaln.cubin").write_text(architecture)
        return ()

    def emulate_kernels(self, kernels: Any, architectures: Any, variants: Any, jobs: int) -> tuple[EmulatedKernel, ...]:
        self.ran(f"emulate {' '.join(architectures)}")
        return tuple(
            EmulatedKernel(
                kernel="adaln", variant="bfloat16", architecture=name, source_digest="0" * 64, tuning={}, error="fake"
            )
            for name in architectures
        )

    def fill_cache(self, kernels: Any, architectures: list[str], variants: Any, jobs: int) -> None:
        self.ran(f"fill {' '.join(architectures)}")

    def measure_interpreted(self, request: Any) -> ParityEvidence:
        self.ran("interpret", request.out_dir)
        (request.out_dir / "rollout_port.png").write_text("frames")
        return ParityEvidence(outputs=(), teacher_forced=(), free_running=None, gold="fp64", seconds=0.0)

    def record_trace(self, *arguments: Any, **named: Any) -> str:
        self.ran("trace")
        return f"trace of {arguments[1:]}"

    def write_trace(self, trace: str, folder: Path) -> None:
        folder.mkdir()
        (folder / "trace.json").write_text(trace)

    def compile_component(self, request: Any) -> ArtifactRecord:
        component, backend = request.component.name, request.backend
        self.ran(f"compile {component} {backend}", request.out_dir)
        if not (request.components_dir / f"{component}.onnx").is_file():
            raise CompileError(f"{component}: no component")
        name = f"{component}.{backend}.bin"
        error = self.compile_errors.get(backend)
        if error is None:
            (request.out_dir / name).write_text(backend)
        return ArtifactRecord(
            component=component,
            backend=backend,
            precision="fp32",
            path=None if error else name,
            files=() if error else (name,),
            error=error,
        )

    def open_runner(self, backend: str, folder: Path, artifact: ArtifactRecord, *_: Any) -> FakeRunner:
        if backend in self.open_errors:
            raise self.open_errors[backend]
        if artifact.path is None or (folder / artifact.path).read_text() != backend:
            raise RunnerError(f"{artifact.path}: is not there; compile it")
        return FakeRunner(backend)

    def measure_component(
        self, program: Program, component: str, runner: FakeRunner, backend: str, *_: Any
    ) -> tuple[OutputParity, ...]:
        ratio = self.ratios.get((component, backend), 1.0)
        return (
            OutputParity(
                component=component,
                backend=backend,
                output="y",
                inputs="trace",
                samples=1,
                error_port=ratio,
                error_eager=1.0,
                ratio=ratio,
                max_abs=ratio,
                unit="",
                sqnr_db=1.0,
                cosine=1.0,
                finite=True,
            ),
        )

    def measure_calls(self, program: Program, component: str, runners: Mapping[str, Any], *_: Any) -> Any:
        return {backend: [self.call_ms[backend]] * 8 for backend in runners}

    def measure_parity(self, program: Program, runners: Any, trace: Any, *arguments: Any) -> ParityEvidence:
        _, _, out, backends, folder = arguments
        self.ran("parity", out)
        (out / "rollout_port.png").write_text("picture")
        outputs = [self.measure_component(program, c, runners[c], backends[c])[0] for c in COMPONENTS]
        free = FreeRunning(
            psnr_db=(1.0,),
            ssim=(1.0,),
            envelope_psnr_db=(1.0,),
            envelope_ssim=(1.0,),
            envelope_members=1,
            first_failing_frame=None,
            reference_frames=folder,
        )
        return ParityEvidence(outputs=tuple(outputs), teacher_forced=(), free_running=free, gold="fp64", seconds=0.0)

    def measure_throughput(
        self, program: Program, drivers: Any, port: str, trace: Any, budget: Any, out: Path, *_: Any
    ) -> ThroughputEvidence:
        self.ran("throughput", out)
        self.timed.append({component: runner.backend for component, runner in drivers["port"]().items()})
        not_run = {}
        for name in drivers.keys() - {"port", "eager", "torch.compile"}:
            try:
                drivers[name]()
            except RunnerError as cause:
                not_run[name] = str(cause)
        (out / "frames.csv").write_text("1.0")
        times = Distribution(frames=1, mean=1.0, p50=1.0, p90=1.0, p99=1.0, max=1.0)
        pacing = Pacing(frames=1, missed=0, longest_stall_ms=0.0, jitter_ms=0.0)
        return ThroughputEvidence(
            host=describe_host(1),
            deadline_ms=41.7,
            frame_ms=times,
            frames_per_second=1000.0,
            time_to_first_frame_ms=1.0,
            load_ms=1.0,
            warmup_frames=1,
            closed_loop=pacing,
            paced=pacing,
            drivers=tuple(
                DriverTiming(
                    name=name,
                    frames_per_second=1000.0,
                    frame_ms=times,
                    ratio_to_eager=3.0 if name == "port" else 1.0,
                    ratio_low=1.0,
                    ratio_high=3.0,
                    rounds=6,
                )
                for name in drivers
                if name not in not_run
            ),
            not_run=not_run,
            memory_high_water_bytes=1,
            memory_slope_bytes_per_frame=0.0,
            host_overhead_share=0.0,
            frames_file="frames.csv",
            valid=True,
        )


def describe_host(threads: int) -> Host:
    return Host(
        machine="x86_64",
        cpu="fake",
        cores=1,
        memory_bytes=1,
        system="Linux",
        python="3.11",
        packages={},
        threads=threads,
    )


def count_frame(program: Program, graphs: Any, precision: str) -> FrameWork:
    """A million operations a component."""
    sizes = {"weight_bytes": 4, "input_bytes": 4, "output_bytes": 4, "copy_bytes": 0, "unfused_bytes": 12}
    works = tuple(
        ComponentWork(
            component=call.component,
            calls_per_frame=1,
            matrix_flops=10**6,
            vector_flops=0,
            operators={"MatMul": 1},
            **sizes,
        )
        for call in program.frame
    )
    return FrameWork(components=works, ring_bytes=0, replaced_bytes=0, input_bytes=0, state_bytes=0)


def calibrate_host(threads: int) -> Calibration:
    samples = [CalibrationSample(what="matmul", size=100, seconds=2e-4)]
    return settle_calibration(threads, [*samples, CalibrationSample(what="copy", size=1000, seconds=1e-6)], ())


def judge_target(record: PortRecord, target: str, highest: Step) -> Verdict:
    """Passes where parity and throughput are there."""
    found = record.targets[target]
    there = found.parity is not None and found.throughput is not None
    outcome = Outcome.PASSED if there else Outcome.NOT_MEASURED
    check = Check(step=Step.PARITY, name="all", subject=target, outcome=outcome, reason="It is there.")
    return Verdict(
        outcome=outcome, reached=Step.THROUGHPUT if there else Step.EXPORTED, highest_possible=highest, checks=(check,)
    )


def replacements(fakes: Fakes) -> list[tuple[Any, str, Any]]:
    """(object, attribute, fake) of everything that the pipeline calls."""
    from porting import compilers, emulation, kernel_compiler, parity, report, runners, throughput, verdict
    from porting.parity import interpreted
    from porting.pipeline import abilities, again, kernels, limiting, making, measuring
    from porting.roofline import frame

    recorder = ModuleType("porting.trace.recorder")
    export = ModuleType("porting.export")
    vars(recorder)["record_trace"] = fakes.record_trace
    vars(export)["export_component"] = fakes.export_component
    variant = ModuleType("porting.export.kernel_variant")
    vars(variant)["export_kernel_variant"] = fakes.export_kernel_variant
    vars(variant)["export_kernel_graph"] = fakes.export_kernel_graph
    return [
        (sys.modules, "porting.trace.recorder", recorder),
        (sys.modules, "porting.export", export),
        (sys.modules, "porting.export.kernel_variant", variant),
        (interpreted, "measure_interpreted", fakes.measure_interpreted),
        (kernel_compiler, "compile_kernels", fakes.compile_kernels),
        (kernel_compiler, "fill_cache", fakes.fill_cache),
        (kernels, "find_kernels", dict),
        (emulation, "emulate_kernels", fakes.emulate_kernels),
        (port_module, "load_world_model", fakes.load_world_model),
        (port_module, "describe_host", describe_host),
        (again, "describe_host", describe_host),
        (again, "bundled_drivers", lambda *_: {}),
        (making, "write_trace", fakes.write_trace),
        (measuring, "read_trace", lambda folder: (folder / "trace.json").read_text()),
        (abilities, "has_backend", lambda backend: backend in fakes.installed),
        (compilers, "CompileRequest", SimpleNamespace),
        (compilers, "compile_component", fakes.compile_component),
        (runners, "open_runner", fakes.open_runner),
        (parity, "measure_component", fakes.measure_component),
        (parity, "measure_parity", fakes.measure_parity),
        (throughput, "measure_calls", fakes.measure_calls),
        (throughput, "measure_throughput", fakes.measure_throughput),
        (frame, "count_frame", count_frame),
        (limiting, "calibrate_host", calibrate_host),
        (limiting, "profile_components", lambda *_: ()),
        (verdict, "judge_target", judge_target),
        (report, "render_html", lambda record, *_: record.targets["cpu"].verdict.outcome),
        (report, "render_markdown", lambda record, *_: record.command),
    ]


def run(bundle: Path, fakes: Fakes) -> None:
    for place, name, fake in replacements(fakes):
        if place is sys.modules:
            sys.modules[name] = fake
        else:
            setattr(place, name, fake)
    verdict = port_module.port(make_request(bundle), Silent()).targets["cpu"].verdict
    sys.stdout.write(f"{verdict.outcome if verdict else 'no verdict'}\n")
    sys.stdout.flush()


def main() -> None:
    """One process a line, without the seconds that the imports take."""
    for line in sys.stdin:
        bundle, log, stop_at = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            run(Path(bundle), Fakes(Path(log), stop_at))
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
