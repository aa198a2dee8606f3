"""Which commit a record is of: as the user says, as the CI system says, as git says; in that order.

It asks git about the working directory, and nothing else.
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from porting.errors import UsageError

CI_VARIABLES = (
    ("GITHUB_SHA", ("GITHUB_HEAD_REF", "GITHUB_REF_NAME")),
    ("CI_COMMIT_SHA", ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME")),
    ("BUILDKITE_COMMIT", ("BUILDKITE_BRANCH",)),
    ("CIRCLE_SHA1", ("CIRCLE_BRANCH",)),
    ("BUILD_SOURCEVERSION", ("BUILD_SOURCEBRANCHNAME",)),
    ("GIT_COMMIT", ("GIT_BRANCH",)),
)
"""The commit's variable and its branch's: GitHub, GitLab, Buildkite, CircleCI, Azure, Jenkins."""
SHA = re.compile(r"[0-9a-f]{4,64}")
GIT_SECONDS = 20


@dataclass(frozen=True)
class Commit:
    """One commit; what is not known of it is empty."""

    sha: str
    branch: str = ""
    when: datetime | None = None
    """When it was committed."""


def find_commit(asked: str | None = None, environment: Mapping[str, str] | None = None) -> Commit:
    """The commit that a record belongs to; git adds its time, and makes a short name whole, where it knows it.

    Args:
        asked: the user's own word.
        environment: the process's, by default.

    Raises:
        UsageError: it is no commit, or nothing tells one.
    """
    environment = os.environ if environment is None else environment
    sha, branch = (asked.strip().lower(), "") if asked is not None else _read_ci(environment)
    if (asked is not None or sha) and not SHA.fullmatch(sha):
        raise UsageError(f"--commit {sha!r}: is no commit; give 4 to 64 hexadecimal digits")
    known = _ask_git("rev-parse", "--verify", "--quiet", f"{sha or 'HEAD'}^{{commit}}")
    if not sha and not known:
        raise UsageError("commit: neither git nor a CI system's variables tell one; give --commit SHA")
    if not known:
        return Commit(sha, branch)
    if not branch and known == _ask_git("rev-parse", "--verify", "--quiet", "HEAD"):
        branch = _ask_git("symbolic-ref", "--quiet", "--short", "HEAD")
    when = _ask_git("show", "--no-patch", "--format=%cI", known)
    return Commit(known, branch, datetime.fromisoformat(when) if when else None)


def _read_ci(environment: Mapping[str, str]) -> tuple[str, str]:
    for variable, branches in CI_VARIABLES:
        # Some systems say "HEAD" here; git knows better which commit that is.
        if SHA.fullmatch(sha := environment.get(variable, "").strip().lower()):
            return sha, next((name for key in branches if (name := environment.get(key, "").strip())), "")
    return "", ""


def _ask_git(*arguments: str) -> str:
    """What git prints; nothing where it knows nothing, or is not there."""
    try:
        asked = subprocess.run(
            ("git", *arguments), capture_output=True, text=True, timeout=GIT_SECONDS, check=False, encoding="utf-8",
            errors="replace", stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
