"""Real servers for tests, on this machine's loopback alone, ended when the block is."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

POSTGRES_VARIABLE = "WORLDPORT_TEST_POSTGRES"
PASSWORD = "p@ss w/rd:4"
START_SECONDS = 300
MLFLOW_SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Jobs are of no use here, and a process of their own."""
STOP_SECONDS = 30


class NotHereError(Exception):
    """A server that cannot be started on this machine, and why."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def find_postgres() -> Path:
    """The folder of the newest PostgreSQL's programs."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        raise NotHereError(f"no PostgreSQL in /usr/lib/postgresql, and {POSTGRES_VARIABLE} names no server")
    return max(found, key=lambda path: int(path.parent.name))


@contextmanager
def start_postgres() -> Iterator[str]:
    """A cluster of its own that asks for a password; its URL, of a user who may make databases."""
    programs, port = find_postgres(), free_port()
    # PostgreSQL refuses to run as root, and the account that it gets then cannot look into pytest's own folders.
    root = os.geteuid() == 0
    if root and shutil.which("runuser") is None:
        raise NotHereError("PostgreSQL does not run as root, and there is no runuser to run it as another")
    drop = ["runuser", "-u", "postgres", "--"] if root else []
    folder = Path(tempfile.mkdtemp(prefix="worldport-postgres-", dir="/tmp"))
    try:
        (folder / "password").write_text(PASSWORD + "\n", encoding="utf-8")
        if root:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        data, log = str(folder / "data"), str(folder / "log")
        run([*drop, str(programs / "initdb"), "-D", data, "-U", "worldport", "-E", "UTF8", "--locale=C.UTF-8",
             "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"], folder)  # fmt: skip
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off -c max_connections=40"
        control = [*drop, str(programs / "pg_ctl"), "-D", data]
        run([*control, "-w", "-t", str(START_SECONDS), "-l", log, "-o", settings, "start"], folder)
        try:
            yield f"postgresql+psycopg://worldport:p%40ss%20w%2Frd%3A4@127.0.0.1:{port}/postgres"
        finally:
            run([*control, "-w", "-m", "immediate", "stop"], folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=START_SECONDS, check=False, start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: ended with {done.returncode}\n{done.stdout}")


@contextmanager
def start_mlflow(folder: Path) -> Iterator[str]:
    """A server with its own store and its own place for artifacts; its URL."""
    if find_spec("mlflow") is None or find_spec("flask") is None:
        raise NotHereError("MLflow's server is not installed: pip install mlflow")
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite'}",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **MLFLOW_SETTINGS},
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        end_group(server)


def wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"{url}: no answer\n{log.read_text(encoding='utf-8', errors='replace')}")


def end_group(server: "subprocess.Popen[bytes]") -> None:
    """The server and the workers that it started."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, ending)
        except ProcessLookupError:
            return
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
