"""The tables of a history, schema 1, and how a database comes to it.

A figure's row holds a finite number or a reason, which the database itself checks: NaN is refused by PostgreSQL's
ordering and stored as NULL by SQLite, which the reason's absence then refuses.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    String,
    TypeDecorator,
    UniqueConstraint,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from porting.errors import HistoryError

SCHEMA_VERSION = 1
UPGRADE_LOCK = 7_077_087_368
"""Key of PostgreSQL's advisory lock: one process at a time makes or upgrades the tables."""
Upgrade = Callable[[Connection], None]
UPGRADES: Mapping[int, Upgrade] = {}
"""From a version to the one after it, each in the transaction that counts it. Version 1 is the first."""


class UtcTime(TypeDecorator[datetime]):
    """A moment, kept in UTC: SQLite has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        return moment.astimezone(UTC)


class Base(DeclarativeBase):
    """Every table of a history."""


class SchemaRow(Base):
    """The one row that says which schema the tables have."""

    __tablename__ = "worldport_schema"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class PortRow(Base):
    """One record of one commit."""

    __tablename__ = "worldport_ports"
    id: Mapped[int] = mapped_column(primary_key=True)
    record: Mapped[str] = mapped_column(String(64), unique=True)
    commit: Mapped[str] = mapped_column("commit_sha", String(64), index=True)
    branch: Mapped[str]
    when: Mapped[datetime] = mapped_column("committed", UtcTime, index=True)
    added: Mapped[datetime] = mapped_column(UtcTime)
    model: Mapped[str]
    checkpoint: Mapped[str] = mapped_column(String(64))
    program: Mapped[str] = mapped_column(String(64))
    targets: Mapped[list["TargetRow"]] = relationship(back_populates="port", cascade="all, delete-orphan")


class TargetRow(Base):
    """One target of a record."""

    __tablename__ = "worldport_targets"
    __table_args__ = (UniqueConstraint("port_id", "target", "precision"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    port_id: Mapped[int] = mapped_column(ForeignKey("worldport_ports.id", ondelete="CASCADE"))
    target: Mapped[str]
    precision: Mapped[str]
    fingerprint: Mapped[str] = mapped_column(String(64))
    machine: Mapped[str]
    outcome: Mapped[str]
    reached: Mapped[str | None]
    disturbances: Mapped[str]
    """One a line."""
    port: Mapped[PortRow] = relationship(back_populates="targets")
    figures: Mapped[list["FigureRow"]] = relationship(cascade="all, delete-orphan", lazy="selectin")


class FigureRow(Base):
    """One figure of a target, or why it is not there."""

    __tablename__ = "worldport_figures"
    __table_args__ = (
        CheckConstraint("(value IS NULL) = (reason IS NOT NULL)", name="worldport_value_or_reason"),
        CheckConstraint("value > -1e308 AND value < 1e308", name="worldport_value_finite"),
    )
    target_id: Mapped[int] = mapped_column(ForeignKey("worldport_targets.id", ondelete="CASCADE"), primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)
    reason: Mapped[str | None]


def read_version(connection: Connection) -> int | None:
    """The schema that a database has; None where it holds no history.

    Raises:
        HistoryError: the tables are there and do not say of which schema they are.
    """
    if not inspect(connection).has_table(SchemaRow.__tablename__):
        return None
    versions = connection.scalars(select(SchemaRow.version)).all()
    if len(versions) != 1:
        raise HistoryError(f"{SchemaRow.__tablename__}: has {len(versions)} rows in place of one; restore a backup")
    return int(versions[0])


def bring_up(connection: Connection, upgrades: Mapping[int, Upgrade] = UPGRADES, newest: int = SCHEMA_VERSION) -> None:
    """Make the tables where there are none, and upgrade older ones step by step, all in the caller's transaction.

    Raises:
        HistoryError: the tables are of a version that this one does not know.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    version = read_version(connection)
    if version is None:
        Base.metadata.create_all(connection)
        connection.execute(SchemaRow.__table__.insert().values(version=newest))  # type: ignore[attr-defined]
        return
    refuse_unknown(version, newest)
    for step in range(version, newest):
        upgrades[step](connection)
        connection.execute(update(SchemaRow).values(version=step + 1))


def refuse_unknown(version: int, newest: int = SCHEMA_VERSION) -> None:
    """Stop before tables of a later version are misread.

    Raises:
        HistoryError: they are.
    """
    if not 1 <= version <= newest:
        raise HistoryError(
            f"history: its tables have schema {version}, this worldport knows 1 to {newest}; install a newer worldport"
        )
