"""A baseline is made of what passed, reads back as it was written, and refuses what is no baseline."""

import json
from pathlib import Path
from typing import Any

import pytest

from porting.bundle import Bundle
from porting.errors import BundleError, PortingError, RecordError, UsageError
from porting.gate import format_baseline, make_baseline, read_baseline
from porting.pipeline import gating
from porting.record import Distribution, PortRecord
from tests.gate.records import add_target, baseline_of, make_kernel, make_target, ported, write_bundle
from tests.verdict.records import TARGET, make_driver, make_record, with_target


def test_what_a_baseline_tells() -> None:
    made = baseline_of()
    target = made.targets[TARGET]
    assert (made.runs, made.model.name, target.reached) == (1, "toy", "throughput")
    assert target.parity is not None
    assert target.parity.ratios == {"dreamer": 1.2, "decoder": 1.2}
    assert target.parity.first_failing_frame is None
    timed = target.throughput
    assert timed is not None
    assert (timed.frames_per_second, timed.frame_p50_ms, timed.frame_p99_ms) == (100.0, 9.9, 12.0)
    assert (timed.ratio_to_eager, timed.ratio_low, timed.ratio_high, timed.rounds) == (4.0, 3.9, 4.1, 6)
    assert timed.ratios_of_others == {"torch.compile": 2.0}
    assert timed.measured_on.cpu == "a processor"
    assert timed.measured_on.packages == {"numpy": "2.4.6"}


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = with_target(ported(), kernels=tuple(make_kernel(f"kernel_{n}") for n in range(20)))
    made = baseline_of(record)
    path = tmp_path / "baseline.json"
    path.write_text(format_baseline(made), encoding="utf-8")
    assert read_baseline(path) == made
    assert json.loads(format_baseline(made)) == json.loads(made.model_dump_json())
    assert max(map(len, format_baseline(made).splitlines())) <= 150


def test_a_file_of_nine_targets_is_small_enough_to_review() -> None:
    record = with_target(ported(), kernels=tuple(make_kernel(f"kernel_number_{n}") for n in range(18)))
    for n in range(8):
        record = add_target(record, f"target-{n}", make_target(record))
    text = format_baseline(baseline_of(record))
    assert len(text) < 64_000
    assert len(text.splitlines()) < 1000


def test_a_target_that_was_only_compiled_has_no_rate() -> None:
    record = with_target(ported(), throughput=None, parity=None)
    target = baseline_of(record).targets[TARGET]
    assert target.throughput is None
    assert target.parity is None


def test_without_eager_there_is_no_ratio() -> None:
    timed = baseline_of(ported(drivers=(make_driver("port", 10.0),), not_run={"eager": "no torch"})).targets[TARGET]
    assert timed.throughput is not None
    assert timed.throughput.ratio_to_eager is None
    assert timed.throughput.tolerances.ratio_to_eager is None


def test_several_runs_give_medians_and_wider_tolerances() -> None:
    rates = (100.0, 90.0, 70.0)
    runs = [
        ported(
            frames_per_second=rate,
            frame_ms=Distribution(
                frames=240, mean=1000 / rate, p50=1000 / rate, p90=1010 / rate, p99=1200 / rate, max=1300 / rate
            ),
            drivers=(make_driver("port", 1000 / rate), make_driver("eager", 40.0)),
        )
        for rate in rates
    ]
    made = baseline_of(*runs)
    timed = made.targets[TARGET].throughput
    assert timed is not None
    assert made.runs == 3
    assert timed.frames_per_second == 90.0
    assert timed.tolerances.frames_per_second.relative == pytest.approx(0.3, abs=1e-3)
    assert timed.rounds == 18


def test_disturbances_are_written_down_for_the_reviewer() -> None:
    timed = baseline_of(ported(disturbances=("others took the cores",))).targets[TARGET].throughput
    assert timed is not None
    assert timed.disturbances == ("others took the cores",)


def elsewhere() -> PortRecord:
    timed = ported().targets[TARGET].throughput
    assert timed is not None
    return ported(host=timed.host.model_copy(update={"cpu": "another"}))


def waiting_otherwise() -> PortRecord:
    timed = ported().targets[TARGET].throughput
    assert timed is not None
    return ported(host=timed.host.model_copy(update={"settings": {"OMP_WAIT_POLICY": "passive"}}))


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ((make_record(),), "not measured"),
        ((ported().model_copy(update={"targets": {}}),), "has no target"),
        ((ported(), elsewhere()), "different machines: cpu another"),
        ((ported(), waiting_otherwise()), "different machines: OMP_WAIT_POLICY passive"),
        ((ported(), add_target(ported(), "b200", make_target(ported()))), "not those of the first"),
        ((ported(), with_target(ported(), throughput=None)), "timed in 1 of 2"),
    ],
)
def test_what_no_baseline_is_made_of(records: tuple[PortRecord, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_baseline(records)


def test_a_changed_bundle_makes_no_baseline(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, ported())
    assert gating.baseline_of((bundle,)) == baseline_of()
    (bundle / "targets/cpu/frames.csv").write_text("changed")
    with pytest.raises(BundleError, match=r"frames\.csv"):
        gating.baseline_of((bundle,))


def test_a_verdict_that_its_evidence_does_not_carry_makes_no_baseline(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path, with_target(ported(), parity=None))
    with pytest.raises(UsageError, match="recorded as passed"):
        gating.baseline_of((bundle,))
    assert Bundle(bundle).exists()


def spoil(*path: str, value: Any) -> str:
    data = json.loads(format_baseline(baseline_of()))
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(data)


RATE = ("targets", TARGET, "throughput", "frames_per_second")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        "not json",
        "[" * 100_000,
        spoil(*RATE, value=float("nan")),
        spoil(*RATE, value=float("inf")),
        spoil(*RATE, value=-1),
        spoil(*RATE, value="fast"),
        spoil("targets", value={}),
        spoil("more", value=1),
        spoil("targets", TARGET, "throughput", "tolerances", "memory", value=None),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"baseline\.json: "):
        read_baseline(path)


@pytest.mark.parametrize("name", ["nothing.json", "."])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(PortingError, match="worldport baseline"):
        read_baseline(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    path.write_bytes(b" " * (5 << 20))
    with pytest.raises(RecordError, match="which no baseline has"):
        read_baseline(path)


def test_the_bundled_models_baseline_is_as_the_command_writes_it(project_root: Path) -> None:
    path = project_root / "reports" / "baselines" / "gwm-mini-worlds.json"
    made = read_baseline(path)
    assert format_baseline(made) == path.read_text(encoding="utf-8")
    assert made.model.name == "gwm-mini-worlds"
    assert made.targets["cpu"].throughput is not None
