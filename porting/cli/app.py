"""The command line: what a user typed becomes one call, and what came of it an exit code."""

import errno
import importlib
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec

import typer

from porting import __version__
from porting.errors import PortingError
from porting.host import spin_briefly

BAD_INPUT = 2
INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended."""
USER_ERRNOS = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EISDIR, errno.ENOTDIR}
"""What a user can change about a file system; other errors of the system are shown with their traceback."""

Parameters = ParamSpec("Parameters")

app = typer.Typer(
    name="worldport",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Port a world-model checkpoint to an accelerator, and prove the port.",
    epilog="Exit codes: 0 passed, 1 failed, 2 bad input or usage, 3 not measured.",
)


def command(name: str, of: typer.Typer = app) -> Callable[[Callable[Parameters, int]], Callable[Parameters, None]]:
    """Register a command: it returns the exit code, and an error that the user can fix becomes one line on stderr.

    Args:
        name: what is typed.
        of: the group of commands that it belongs to, as in `worldport history show`.
    """

    def register(function: Callable[Parameters, int]) -> Callable[Parameters, None]:
        @wraps(function)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
            raise typer.Exit(_call(lambda: function(*args, **kwargs)))

        return of.command(name)(run)

    return register


def _call(function: Callable[[], int]) -> int:
    try:
        return function()
    except PortingError as error:
        _complain(" ".join(str(error).split()))
        return BAD_INPUT
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        _complain(f"{error.filename or 'file system'}: {error.strerror}")
        return BAD_INPUT
    except KeyboardInterrupt:
        _complain("interrupted; the same command goes on where this one stopped")
        return INTERRUPTED


def _complain(text: str) -> None:
    sys.stderr.write(f"worldport: {text}\n")


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"worldport {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Port a world-model checkpoint to an accelerator, and prove the port."""


def load_commands() -> typer.Typer:
    """The app with every command; they register themselves, in the order of the help text."""
    for module in (
        "port_commands",
        "bundle_commands",
        "compare_commands",
        "gate_commands",
        "plan_commands",
        "kernel_commands",
        "history_commands",
        "about_commands",
    ):
        importlib.import_module(f"porting.cli.{module}")
    return app


def main() -> None:
    """Run the command that the process was started with."""
    spin_briefly()
    load_commands()(prog_name="worldport")
