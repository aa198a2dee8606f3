"""Where the engine's content lies: kernels, profiles, report templates and bundled checkpoints.

Content is data that the engine reads and checks. In a checkout it stands at the project's root, in a wheel inside the
package; nobody else needs to know which.
"""

from pathlib import Path

from porting.errors import UsageError

NAMES = ("checkpoints", "kernels", "profiles", "reports")
PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder of that name: `porting/_content/<name>` of an installed wheel, else the checkout's own.

    Raises:
        UsageError: there is no content of that name, or this installation lacks it.
    """
    if name not in NAMES:
        raise UsageError(f"content {name!r}: no such folder; there are: {', '.join(NAMES)}")
    installed, root = PACKAGE / "_content" / name, PACKAGE.parent
    if installed.is_dir():
        return installed
    # A wheel's neighbours are other distributions' packages, some of which have such names too.
    if (root / "pyproject.toml").is_file() and (root / name).is_dir():
        return root / name
    raise UsageError(f"content {name!r}: is neither {installed} nor in a checkout at {root}; install worldport again")
