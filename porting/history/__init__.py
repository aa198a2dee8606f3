"""Port records over commits: kept in SQLite or PostgreSQL, searched for changes, handed on to MLflow.

Nothing here measures or judges a port; a change is found in figures that records already hold.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from porting.errors import UsageError

if TYPE_CHECKING:
    from porting.history.store import History

__all__ = ["open_history"]


# What talks to databases is an extra, and takes a while to load.
def open_history(database: str, writing: bool = False) -> "History":
    """The history that a file or URL names; see `porting.history.store.History`.

    Raises:
        UsageError: SQLAlchemy is not installed.
        HistoryError: the database cannot be reached, is no history, or is one of a later version.
    """
    if find_spec("sqlalchemy") is None:
        raise UsageError("history: SQLAlchemy is not installed; pip install 'worldport[history]'")
    from porting.history.store import History

    return History(database, writing)
