"""Runs stages against one bundle: reuses what is finished and intact, redoes the rest, writes the record after each.

It knows nothing of what a stage does. This is the one place that catches what nobody expected: a stage that breaks is
recorded with its traceback, and the port goes on with what is left.
"""

import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import psutil

from porting.bundle import Bundle, add_stage, forget_stage, stage_key
from porting.errors import PortingError
from porting.pipeline.progress import Observer
from porting.record import FileRecord, PortRecord, StageRecord

Update = Callable[[PortRecord], PortRecord]
"""What a stage found out, as a change of the record."""


def _unchanged(record: PortRecord) -> PortRecord:
    return record


@dataclass(frozen=True)
class Stage:
    """One arrow of the pipeline."""

    name: str
    inputs: dict[str, object]
    """Everything that the result depends on beside the files of `after`; JSON, for the cache key."""
    work: Callable[[Path], Update]
    """Gets a temporary folder that is laid out like the bundle, and writes its files there."""
    after: tuple[str, ...] = ()
    """Stages whose results this one uses."""
    clear: Update = _unchanged
    """Takes what an earlier run of this stage found out back from the record."""
    on_error: Callable[[Exception], Update] | None = None
    """Makes a failure into evidence, where a failure is an answer; it is never reused."""


@dataclass(frozen=True)
class _Done:
    """A stage's work, before it is in the bundle."""

    update: Update | None
    error: Exception | None
    seconds: float


class Workshop:
    """A locked bundle, its record as it grows, and the stages that were run in this process."""

    def __init__(self, bundle: Bundle, record: PortRecord, observer: Observer) -> None:
        self.bundle = bundle
        self.record = record
        self.observer = observer
        self._executed: set[str] = set()
        # Stages in the background put their results into the record as they end.
        self._changing = RLock()

    def broken(self, name: str) -> bool:
        """True when that stage did not end, or broke."""
        return all(stage.name != name or stage.error is not None for stage in self.record.stages)

    def change(self, update: Update) -> None:
        """Change the record outside any stage."""
        with self._changing:
            self.record = update(self.record)
            self.bundle.write_record(self.record)

    def run(self, stage: Stage, again: bool = False) -> None:
        """Run one stage, or reuse it.

        Args:
            stage: what to run.
            again: run it even if a finished result is there, which stays until the new one replaces it.

        Raises:
            PortingError: the stage's inputs are of no use.
        """
        if self._begin(stage, again):
            with self.bundle.staging() as folder:
                self._settle(stage, folder, _work(stage, folder))

    @contextmanager
    def background(self, jobs: int) -> Iterator[Callable[..., None]]:
        """Run stages beside those of this thread, at most `jobs` at once; all have ended when the block has.

        Stages that are given together run one after the other, so that one may depend on those before it. Others must
        not depend on one another, nor on one of this thread that has not ended.

        Raises:
            PortingError: the first that a stage in the background raised.
        """
        with _pool(jobs) as pool:
            running: list[Future[None]] = []

            def run_all(stages: tuple[Stage, ...]) -> None:
                for stage in stages:
                    self.run(stage)

            def submit(*stages: Stage) -> None:
                running.append(pool.submit(run_all, stages))

            yield submit
            for future in as_completed(running):
                future.result()

    def _begin(self, stage: Stage, again: bool) -> bool:
        """True when the stage has to run; what an earlier run of it found out is then no longer in the record."""
        with self._changing:
            if again:
                pass
            elif self._reuse(stage):
                return False
            else:
                self.change(lambda record: stage.clear(forget_stage(record, stage.name)))
            self.observer.started(stage.name)
            return True

    def _key(self, stage: Stage) -> str:
        """What the result depends on: its own inputs, and what the stages before it were made from and wrote."""
        before = {s.name: s for s in self.record.stages if s.name in stage.after}
        digests = {file.path: file.sha256 for file in self.record.files}
        files = {path: digests[path] for s in before.values() for path in s.files if path in digests}
        return stage_key(
            {
                "stage": stage.name,
                "inputs": stage.inputs,
                "after": {name: s.key for name, s in before.items()},
                "files": files,
            }
        )

    def _reuse(self, stage: Stage) -> bool:
        if self._executed & set(stage.after) or not self.bundle.reusable(self.record, stage.name, self._key(stage)):
            return False
        self.observer.reused(stage.name)
        return True

    def _settle(self, stage: Stage, folder: Path, done: _Done) -> None:
        """Move a stage's files into the bundle and its result into the record."""
        with self._changing:
            self._executed.add(stage.name)
            files: tuple[FileRecord, ...] = ()
            if done.update is not None:
                files = self.bundle.adopt(folder)
                record = done.update(self.record)
            else:
                self.observer.failed(stage.name, f"{type(done.error).__name__}: {done.error}")
                record = self._note_failure(stage, done)
            self.change(lambda _: add_stage(record, self._stage_record(stage, done, files), files))
            if done.error is None:
                self.observer.finished(stage.name, done.seconds)

    def _note_failure(self, stage: Stage, done: _Done) -> PortRecord:
        """The record without anything that an earlier run of the stage had found out.

        Raises:
            PortingError: the stage said what the user can change, and a failure of it is no evidence.
        """
        if done.error is not None and stage.on_error is not None:
            return stage.on_error(done.error)(self.record)
        if isinstance(done.error, PortingError):
            raise done.error
        return stage.clear(forget_stage(self.record, stage.name))

    def _stage_record(self, stage: Stage, done: _Done, files: tuple[FileRecord, ...]) -> StageRecord:
        return StageRecord(
            name=stage.name,
            key=self._key(stage),
            seconds=done.seconds,
            files=tuple(file.path for file in files),
            after=stage.after,
            error=None if done.error is None else "".join(traceback.format_exception(done.error)),
        )


def _work(stage: Stage, folder: Path) -> _Done:
    start = time.perf_counter()
    try:
        update = stage.work(folder)
    except Exception as error:  # noqa: BLE001 - recorded with its traceback, and the port cannot pass
        return _Done(None, error, time.perf_counter() - start)
    return _Done(update, None, time.perf_counter() - start)


@contextmanager
def _pool(jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that start nothing new once the block is left; Ctrl-C ends the processes that they wait for."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    except KeyboardInterrupt:
        # Compilers run in sessions of their own, which the terminal's interrupt does not reach.
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
