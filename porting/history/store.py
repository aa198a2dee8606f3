"""A history of ports: adds the points of a record once, whoever else writes, and gives them back in order."""

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, exc, select
from sqlalchemy.orm import Session, selectinload

from porting.errors import HistoryError
from porting.history.database import SQLITE, describe_url, explained, make_engine, parse_database
from porting.history.tables import SCHEMA_VERSION, FigureRow, PortRow, TargetRow, bring_up, read_version
from porting.record import Outcome, Step
from porting.record.history import HistoryPoint


class History:
    """An open history. It is safe to have it open in many processes at once."""

    def __init__(self, database: str, writing: bool = False) -> None:
        """Open it; a writer makes a history where there is none.

        Raises:
            UsageError: the database's driver is not installed.
            HistoryError: it cannot be reached, is no history, or is one of a later version.
        """
        self._url = parse_database(database)
        if self._url.get_backend_name() == SQLITE:
            _prepare_file(Path(str(self._url.database)), writing)
        self._engine: Engine = make_engine(self._url)
        with explained(self._url, "be opened"):
            self._bring_up(writing)

    @property
    def name(self) -> str:
        """Where it is, without a password."""
        return describe_url(self._url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._engine.dispose()

    def _bring_up(self, writing: bool) -> None:
        with self._engine.connect() as connection, connection.begin():
            version = read_version(connection)
        if version == SCHEMA_VERSION:
            return
        if version is None and not writing:
            raise HistoryError(f"{self.name}: holds no history yet; worldport history add BUNDLE makes one")
        with self._engine.connect().execution_options(writes=True) as connection, connection.begin():
            bring_up(connection)

    def add(self, points: tuple[HistoryPoint, ...]) -> bool:
        """Add every point of one record, all of them or none.

        Returns:
            False where the record is there already.

        Raises:
            HistoryError: it is there under another commit, or the database did not take it.
        """
        (record,) = {point.record for point in points}
        with explained(self._url, "take the record"):
            try:
                with Session(self._engine.execution_options(writes=True)) as session, session.begin():
                    known = _find_port(session, record)
                    if known is None:
                        session.add(_make_rows(points))
            except exc.IntegrityError:
                # Another writer's transaction ended first; anything else that the database refused is still refused.
                with Session(self._engine) as session, session.begin():
                    known = _find_port(session, record)
                    if known is None:
                        raise
        if known is not None and known != points[0].commit:
            raise HistoryError(
                f"{self.name}: holds this record as commit {known[:12]}, not {points[0].commit[:12]};"
                " port the other commit anew"
            )
        return known is None

    def read(
        self, model: str | None = None, target: str | None = None, branch: str | None = None
    ) -> tuple[HistoryPoint, ...]:
        """Every point of a model, target and branch, or of all of them; the oldest first.

        Raises:
            HistoryError: the database did not answer, or holds what this version does not read.
        """
        query = select(TargetRow).join(PortRow).options(selectinload(TargetRow.port))
        query = query.order_by(PortRow.when, PortRow.id, TargetRow.id)
        for column, wanted in ((PortRow.model, model), (TargetRow.target, target), (PortRow.branch, branch)):
            query = query if wanted is None else query.where(column == wanted)
        with explained(self._url, "be read"), Session(self._engine) as session, session.begin():
            try:
                return tuple(_make_point(row) for row in session.scalars(query))
            except ValueError as cause:
                said = f"{self.name}: holds a row that is no record's ({' '.join(str(cause).split())})"
                raise HistoryError(f"{said}; restore a backup") from cause


def _prepare_file(path: Path, writing: bool) -> None:
    """A reader of a file that is not there would leave an empty one behind."""
    if writing:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as cause:
            raise HistoryError(
                f"{path.parent}: cannot be made ({cause.strerror}); give --database another file"
            ) from cause
    elif not path.is_file():
        raise HistoryError(f"{path}: no such history; worldport history add BUNDLE makes one")


def _find_port(session: Session, record: str) -> str | None:
    """The commit of a record that is there."""
    return session.scalar(select(PortRow.commit).where(PortRow.record == record))


def _make_rows(points: tuple[HistoryPoint, ...]) -> PortRow:
    first = points[0]
    row = PortRow(
        record=first.record, commit=first.commit, branch=first.branch, when=first.when, added=datetime.now(UTC),
        model=first.model, checkpoint=first.checkpoint, program=first.program,
    )  # fmt: skip
    row.targets = [_make_target_row(point) for point in points]
    return row


def _make_target_row(point: HistoryPoint) -> TargetRow:
    figures = [FigureRow(metric=name, value=value) for name, value in point.values.items()]
    figures += [FigureRow(metric=name, reason=reason) for name, reason in point.absent.items()]
    return TargetRow(
        target=point.target, precision=point.precision, fingerprint=point.fingerprint, machine=point.machine,
        outcome=point.outcome.value, reached=point.reached.value if point.reached else None,
        disturbances="\n".join(point.disturbances), figures=figures,
    )  # fmt: skip


def _make_point(row: TargetRow) -> HistoryPoint:
    return HistoryPoint(
        commit=row.port.commit, branch=row.port.branch, when=row.port.when, record=row.port.record,
        model=row.port.model, checkpoint=row.port.checkpoint, program=row.port.program, target=row.target,
        precision=row.precision, fingerprint=row.fingerprint, machine=row.machine, outcome=Outcome(row.outcome),
        reached=Step(row.reached) if row.reached else None, disturbances=tuple(row.disturbances.splitlines()),
        values={figure.metric: figure.value for figure in row.figures if figure.value is not None},
        absent={figure.metric: figure.reason for figure in row.figures if figure.reason is not None},
    )  # fmt: skip
