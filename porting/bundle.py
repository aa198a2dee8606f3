"""A bundle on disk: `port.json`, digests of every file, atomic writes, and the cache that lets a killed port go on.

A file is written in `.partial/` inside the bundle, flushed to disk and renamed; a stage counts as done only once
`port.json` names it, and is used again only when its key matches and each of its files still has its digest. It knows
nothing of what the stages do.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from porting.errors import BundleError
from porting.record import SCHEMA_VERSION, FileRecord, PortRecord, StageRecord

RECORD = "port.json"
LOCK = ".lock"
PARTIAL = ".partial"
CHUNK_BYTES = 1 << 22


def digest_file(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def stage_key(inputs: Mapping[str, object]) -> str:
    """sha256 over the canonical JSON of everything that a stage depends on.

    Raises:
        TypeError: an input is not JSON; it has to be reduced to a digest first.
    """
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def referenced_paths(record: PortRecord) -> Iterator[str]:
    """Every file or folder of the bundle that some part of the record names."""
    yield from (component.path for component in record.components)
    if record.trace is not None:
        yield record.trace.path
    for stage in record.stages:
        yield from stage.files
    if record.interpreted is not None and record.interpreted.free_running is not None:
        yield record.interpreted.free_running.reference_frames
    for target in record.targets.values():
        for artifact in target.artifacts:
            yield from artifact.files
            if artifact.path is not None:
                yield artifact.path
        for kernel in target.kernels:
            yield from kernel.files
        if target.throughput is not None:
            yield target.throughput.frames_file
        if target.parity is not None and target.parity.free_running is not None:
            yield target.parity.free_running.reference_frames


class Bundle:
    """One folder that holds everything a port made. Only one process writes to it at a time: see `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def record_path(self) -> Path:
        """Where `port.json` stands."""
        return self.path / RECORD

    def exists(self) -> bool:
        """True when the folder has a record, readable or not."""
        return self.record_path.is_file()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the bundle for writing; makes the folder, and discards what a killed writer left half-written.

        Raises:
            BundleError: another process holds it, the folder is not a bundle, or it cannot be written.
        """
        self._check_is_ours()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise BundleError(f"{self.path}: cannot be written ({cause.strerror}); choose another folder") from cause
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as cause:
                raise BundleError(
                    f"{self.path}: another worldport is writing this bundle; wait for it or choose another folder"
                ) from cause
            shutil.rmtree(self.path / PARTIAL, ignore_errors=True)
            yield
        finally:
            os.close(descriptor)

    def read_record(self) -> PortRecord:
        """Parse `port.json`.

        Raises:
            BundleError: it is missing, is not JSON, is of another schema, or does not fit the schema.
        """
        path = self.record_path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as cause:
            raise BundleError(
                f"{self.path}: has no {RECORD}, so it is no bundle; name a folder made by port"
            ) from cause
        except (OSError, UnicodeDecodeError) as cause:
            raise BundleError(f"{path}: cannot be read ({cause}); restore it or port again") from cause
        try:
            version = json.loads(text)["schema_version"]
        except (ValueError, KeyError, TypeError) as cause:
            raise BundleError(f"{path}: is no record ({cause!r}); restore it, or remove it and port again") from cause
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{path}: schema_version is {version!r}, this worldport reads {SCHEMA_VERSION};"
                " use the worldport that wrote it, or port again"
            )
        try:
            return PortRecord.model_validate_json(text)
        except ValidationError as cause:
            first = cause.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BundleError(f"{path}: {where}: {first['msg']}; restore it, or remove it and port again") from cause

    def write_record(self, record: PortRecord) -> None:
        """Replace `port.json` at once: a reader sees the old record or the new one, never a part."""
        self.write_text(RECORD, record.model_dump_json(indent=2, by_alias=True) + "\n")

    def write_text(self, path: str, text: str) -> FileRecord:
        """Write one file of the bundle atomically."""
        with self.staging() as folder:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
            return self.adopt(folder)[0]

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A temporary folder on the bundle's file system, laid out like the bundle; gone at the end."""
        parent = self.path / PARTIAL
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, folder: Path) -> tuple[FileRecord, ...]:
        """Flush every file of a staging folder to disk and rename it to its place in the bundle.

        Raises:
            BundleError: the folder holds something that is no plain file.
        """
        adopted = []
        for source in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
            if source.is_symlink() or not source.is_file():
                raise BundleError(f"{source}: is no plain file; a bundle holds nothing else")
            relative = source.relative_to(folder)
            place = self.path / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            adopted.append(
                FileRecord(path=relative.as_posix(), sha256=digest_file(source), nbytes=source.stat().st_size)
            )
            _flush(source)
            os.replace(source, place)
            _flush(place.parent)
        return tuple(adopted)

    def find_problem(self, file: FileRecord) -> str | None:
        """What is wrong with one listed file, as a sentence that begins with its path; None when it is intact."""
        parts = PurePosixPath(file.path)
        place = self.path / parts
        if parts.is_absolute() or ".." in parts.parts or not place.resolve().is_relative_to(self.path.resolve()):
            return f"{file.path}: lies outside the bundle"
        if not place.is_file():
            return f"{file.path}: is missing"
        if (nbytes := place.stat().st_size) != file.nbytes:
            return f"{file.path}: has {nbytes} bytes, {file.nbytes} were written"
        if digest_file(place) != file.sha256:
            return f"{file.path}: was changed after it was written"
        return None

    def verify_files(self, record: PortRecord) -> None:
        """Hold every listed file against its digest, and everything that the record names against the list.

        Raises:
            BundleError: a file is changed, missing, outside the bundle, or named but not listed; the message names it.
        """
        advice = f"copy the bundle {self.path} anew, or port again"
        listed = {file.path for file in record.files}
        for path in referenced_paths(record):
            if path not in listed and not any(file.startswith(path.rstrip("/") + "/") for file in listed):
                raise BundleError(f"{path!r}: is named by {RECORD} but has no digest there; {advice}")
        for file in record.files:
            problem = self.find_problem(file)
            if problem is not None:
                raise BundleError(f"{problem}; {advice}")

    def reusable(self, record: PortRecord, name: str, key: str) -> bool:
        """True when that stage ran to its end with that key and each of its files is intact."""
        stages = {stage.name: stage for stage in record.stages}
        if name not in stages or stages[name].key != key or stages[name].error is not None:
            return False
        listed = {file.path: file for file in record.files}
        return all(path in listed and self.find_problem(listed[path]) is None for path in stages[name].files)

    def remove_files(self, files: Iterable[FileRecord]) -> None:
        """Delete files that the record listed and no longer does; what lies outside the bundle is left alone."""
        for file in files:
            problem = self.find_problem(file)
            if problem is None or "outside" not in problem:
                (self.path / file.path).unlink(missing_ok=True)

    def _check_is_ours(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise BundleError(f"{self.path}: is a file; a bundle is a folder, choose another name")
        own = {LOCK, PARTIAL}
        if self.path.is_dir() and not self.exists() and any(entry.name not in own for entry in self.path.iterdir()):
            raise BundleError(f"{self.path}: has files but no {RECORD}; choose an empty folder")


def forget_stage(record: PortRecord, name: str) -> PortRecord:
    """The record without that stage and every stage that was built on it; their files are no longer listed."""
    gone = {name}
    while more := {s.name for s in record.stages if gone & set(s.after)} - gone:
        gone |= more
    lost = {path for stage in record.stages if stage.name in gone for path in stage.files}
    return record.model_copy(
        update={
            "stages": tuple(stage for stage in record.stages if stage.name not in gone),
            "files": tuple(file for file in record.files if file.path not in lost),
        }
    )


def add_stage(record: PortRecord, stage: StageRecord, files: Iterable[FileRecord]) -> PortRecord:
    """The record with that stage and the digests of its files, in place of any older ones."""
    new = {file.path: file for file in files}
    kept = tuple(file for file in record.files if file.path not in new)
    return record.model_copy(
        update={
            "stages": (*(s for s in record.stages if s.name != stage.name), stage),
            "files": tuple(sorted((*kept, *new.values()), key=lambda file: file.path)),
        }
    )


def _flush(path: Path) -> None:
    """Ask the system to put a file or folder on disk: a rename alone may survive a power cut without its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
