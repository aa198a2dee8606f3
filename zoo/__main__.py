"""`python -m zoo list`, `python -m zoo build NAME --out DIR`."""

from pathlib import Path
from typing import Annotated

import typer

import zoo

app = typer.Typer(add_completion=False, help="Tiny checkpoints of every family.")


@app.command("list")
def show() -> None:
    """Name every checkpoint that can be built."""
    for entry in zoo.list_entries().values():
        typer.echo(f"{entry.name:28} {entry.family:24} {entry.layout}")


@app.command("build")
def build(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Which, or all.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="One folder for each is made in it.")],
) -> None:
    """Write checkpoints."""
    known = zoo.list_entries()
    wanted = list(known) if names == ["all"] else names
    for name in wanted:
        if name not in known:
            raise typer.BadParameter(f"{name}: no such checkpoint; there are: {', '.join(known)}")
        typer.echo(str(zoo.build(name, out / name)))


app(prog_name="python -m zoo")
