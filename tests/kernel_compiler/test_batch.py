"""Compilers that crash, hang, or raise: each is the error of its own request, with its last words."""

import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from porting.kernel_compiler import compile_requests, make_request
from porting.kernel_compiler.batch import answer_requests, last_words
from porting.kernel_library import load_kernel
from porting.record import KernelRecord
from tests.kernel_compiler.sources import ADD, write_kernel

LAUNCH = '    """Run the kernel."""\n'
BREAKS = {
    "sound": "",
    "aborts": "    os.write(2, b'LLVM ERROR: cannot select'); os.abort()\n",
    "segfaults": "    os.kill(os.getpid(), 11)\n",
    "raises": "    raise RuntimeError('PassManager::run failed')\n",
    "hangs": "    time.sleep(60)\n",
    "leaves": "    os._exit(0)\n",
    "exhausts": "    raise MemoryError\n",
    "idle": "    return x\n",
}
TWICE = "    kernel[(1,)](x, y, x, 7, 1, 0.5, BLOCK=64)\n"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, KernelRecord]]:
    """One batch of all of them, and a real error of LLVM that ends the process."""
    folder = tmp_path_factory.mktemp("broken")
    requests = []
    for name, line in {**BREAKS, "twice": TWICE}.items():
        kernel = load_kernel(write_kernel(folder, name, ADD.replace(LAUNCH, LAUNCH + line)))
        request = make_request(kernel, "float32", "cuda:90")
        requests.append(request.model_copy(update={"timeout_seconds": 2.0}) if name == "hangs" else request)
    sound = load_kernel(folder / "sound.py")
    requests.append(make_request(sound, "float32", "cuda:88"))
    records = compile_requests(requests, folder / "cache", 2)
    return folder, {f"{r.kernel} {r.architecture}": r for r in records}


def test_a_crash_loses_no_other_binary(broken: tuple[Path, dict[str, KernelRecord]]) -> None:
    _, records = broken
    assert [name for name, record in records.items() if record.error is None] == ["sound cuda:90"]
    assert records["sound cuda:90"].architecture_found == "cuda:90"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("aborts cuda:90", "the compiler was ended by SIGABRT; its last words: LLVM ERROR: cannot select"),
        ("sound cuda:88", "LLVM ERROR: PTX version 8.8 does not support target 'sm_88'"),
        ("segfaults cuda:90", "the compiler was ended by SIGSEGV; its last words: (none)"),
        ("raises cuda:90", "RuntimeError: PassManager::run failed"),
        ("hangs cuda:90", "took longer than 2 s"),
        ("leaves cuda:90", "exited with 0"),
        ("exhausts cuda:90", "MemoryError"),
        ("idle cuda:90", "launch compiles 0 kernels; let it launch one"),
        ("twice cuda:90", "launch compiles 2 kernels; let it launch one"),
    ],
)
def test_each_end_is_named(name: str, words: str, broken: tuple[Path, dict[str, KernelRecord]]) -> None:
    record = broken[1][name]
    assert record.error is not None
    assert record.error.startswith(f"{record.kernel} in float32 for {record.architecture}: ")
    assert words in record.error
    assert (record.files, record.architecture_found, record.instructions) == ((), None, None)


def test_only_what_would_come_out_again_is_kept(broken: tuple[Path, dict[str, KernelRecord]]) -> None:
    folder, _ = broken
    kept = {path.read_text(encoding="utf-8") for path in (folder / "cache").glob("*/answer.json")}
    names = {name for name in [*BREAKS, "twice"] if any(f'"kernel": "{name}"' in text for text in kept)}
    assert names == {"sound", "aborts", "raises", "idle", "twice"}


def test_a_run_that_is_stopped_keeps_what_it_has_and_leaves_nothing_running(tmp_path: Path) -> None:
    slow = ADD.replace(LAUNCH, LAUNCH + BREAKS["hangs"])
    kernels = [load_kernel(write_kernel(tmp_path, "a_first", ADD)), load_kernel(write_kernel(tmp_path, "b_slow", slow))]
    requests = [make_request(kernel, "float32", "hip:gfx942") for kernel in kernels]
    with closing(answer_requests(requests, 1)) as answers:
        index, answer, folder = next(answers)
        assert (index, answer.record.error) == (0, None)
        assert all((folder / name).is_file() for name in answer.digests)
        child = find_process("b_slow", folder.parent)
    assert not folder.parent.exists()
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running()


def find_process(kernel: str, folder: Path) -> psutil.Process:
    """The compile of a kernel: the process that says what it does into the folder of its request."""
    for _ in range(200):
        for process in psutil.Process().children(recursive=True):
            try:
                if any(opened.path == str(folder / "1" / "output.txt") for opened in process.open_files()):
                    return process
            except psutil.Error:
                continue
        time.sleep(0.1)
    raise AssertionError(f"nothing compiles {kernel}")


def test_inputs_that_cannot_be_made_are_the_error_of_their_kernel_alone(tmp_path: Path) -> None:
    """The process of a kernel dies of them, before any compile."""
    bad = write_kernel(tmp_path, "bad", ADD)
    text = bad.read_text(encoding="utf-8")
    bad.write_text(
        text.replace("    return torch.randn(", "    raise ValueError(n)\n    return torch.randn("), encoding="utf-8"
    )
    kernels = [load_kernel(bad), load_kernel(write_kernel(tmp_path, "good", ADD))]
    requests = [make_request(kernel, "float32", "hip:gfx942") for kernel in kernels]
    first, second = compile_requests(requests, tmp_path / "cache", 2)
    assert first.error is not None
    assert "was not compiled: ValueError: 512" in first.error
    assert second.error is None


def test_a_worker_that_cannot_start_is_every_requests_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module named torch >&2\nexit 1\n", encoding="utf-8")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    kernel = load_kernel(write_kernel(tmp_path, "add", ADD))
    requests = [make_request(kernel, "float32", architecture) for architecture in ("cuda:90", "hip:gfx942")]
    for record in compile_requests(requests, tmp_path / "cache", 2):
        assert record.error is not None
        assert "was not reached; the worker exited with 1; its last words: no module named torch" in record.error
    assert not (tmp_path / "cache").exists()


TRACE = "Traceback (most recent call last):\n"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", "(none)"),
        ("one\n\ntwo  \n\n", "two"),
        (f'{TRACE}  File "x", line 1\nKeyError: 7\n', "KeyError: 7"),
        (f"{TRACE}a.b.OwnError: at 1:0:\ndef f():\n^\nValueError(no)\n", "OwnError: at 1:0: ValueError(no)"),
        (f"{TRACE}A: 1\n\nDuring\n\n{TRACE}B: 2\n", "B: 2"),
        (
            f"{TRACE}a.ToolError: failed\nptxas fatal: no\nRepro command: /x/ptxas\n",
            "ToolError: failed ptxas fatal: no",
        ),
        ("x" * 5000, "x" * 600),
    ],
)
def test_last_words(said: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "output.txt"
    path.write_text(said, encoding="utf-8")
    assert last_words(path) == words


def test_a_process_that_left_no_file_said_nothing(tmp_path: Path) -> None:
    assert last_words(tmp_path / "nowhere") == "(none)"
