import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from porting.errors import UsageError
from porting.history.commit import Commit, find_commit

SHA = "0123456789abcdef0123456789abcdef01234567"
WHEN = "2026-11-05T07:08:09+02:00"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of which git knows nothing, whatever lies above it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GIT_DIR", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def git(*arguments: str) -> str:
    settings = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(("git", *settings, *arguments), check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(outside: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository with one commit on the branch "trunk"; the commit."""
    monkeypatch.setenv("GIT_COMMITTER_DATE", WHEN)
    git("init", "--quiet", "--initial-branch=trunk")
    git("commit", "--quiet", "--allow-empty", "--message=first")
    return git("rev-parse", "HEAD")


def test_git_tells_commit_branch_and_time(repository: str) -> None:
    assert find_commit(environment={}) == Commit(repository, "trunk", datetime.fromisoformat(WHEN))


def test_a_short_name_is_made_whole(repository: str) -> None:
    assert find_commit(repository[:7].upper(), {}).sha == repository


def test_another_commit_than_the_one_checked_out_is_of_no_known_branch(repository: str) -> None:
    git("commit", "--quiet", "--allow-empty", "--message=second")
    assert find_commit(repository, {}) == Commit(repository, "", datetime.fromisoformat(WHEN))


@pytest.mark.parametrize(
    ("environment", "branch"),
    [
        ({"GITHUB_SHA": SHA, "GITHUB_REF_NAME": "main"}, "main"),
        ({"GITHUB_SHA": SHA, "GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "feature"}, "feature"),
        ({"CI_COMMIT_SHA": SHA, "CI_COMMIT_REF_NAME": "main"}, "main"),
        ({"BUILDKITE_COMMIT": SHA, "BUILDKITE_BRANCH": "main"}, "main"),
        ({"CIRCLE_SHA1": SHA, "CIRCLE_BRANCH": "main"}, "main"),
        ({"BUILD_SOURCEVERSION": SHA, "BUILD_SOURCEBRANCHNAME": "main"}, "main"),
        ({"GIT_COMMIT": SHA}, ""),
    ],
)
def test_a_ci_system_tells_where_git_does_not(outside: Path, environment: dict[str, str], branch: str) -> None:
    assert find_commit(environment=environment) == Commit(SHA, branch)


def test_what_the_user_says_comes_first_and_what_is_no_commit_is_passed_over(repository: str) -> None:
    assert find_commit("beef", {"GITHUB_SHA": SHA}).sha == "beef"
    assert find_commit(environment={"BUILDKITE_COMMIT": "HEAD"}).sha == repository


def test_where_nothing_tells_the_commit_is_asked_for(outside: Path) -> None:
    with pytest.raises(UsageError, match="neither git nor a CI system's variables tell one; give --commit SHA"):
        find_commit(environment={})


@pytest.mark.parametrize("bad", ["main", "abc", "--help", "12345g", "; rm", "a" * 65, ""])
def test_what_is_no_commit_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match="is no commit; give 4 to 64 hexadecimal digits"):
        find_commit(bad, {})
