"""Figures with their sources: what someone states of the hardware, and what software needs at the least.

No figure stands without a source. Sources that disagree stand side by side; whoever reads chooses which way to err.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel, model_validator

from porting.tensor_spec import Model

Text = Annotated[str, Field(min_length=1)]
Amount = Annotated[int | float, Field(gt=0, allow_inf_nan=False)]


class Claim(Model):
    """One figure as one source gives it."""

    value: Amount
    source: Text
    basis: Literal["specified", "reported", "measured"] = "specified"
    """The vendor's or an author's statement, what a device or a tool says of itself, or what someone measured."""
    note: str = ""


class Figure(RootModel[Annotated[tuple[Claim, ...], Field(min_length=1)]]):
    """A figure: one claim, or several that disagree. In TOML one table, or a list of them."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _wrap_one_claim(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return (given,)
        if isinstance(given, int | float | str):
            raise ValueError(f'has no source; write {{ value = {given}, source = "..." }}')
        return given

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim, in the order of the file: the one to begin with first."""
        return self.root

    @property
    def conservative(self) -> int | float:
        """The smallest value claimed: promises less, wherever more is better."""
        return min(claim.value for claim in self.root)

    @property
    def optimistic(self) -> int | float:
        """The largest value claimed."""
        return max(claim.value for claim in self.root)

    @property
    def disputed(self) -> bool:
        """Whether the claims disagree."""
        return self.conservative != self.optimistic

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the claims come from, each once."""
        return tuple(dict.fromkeys(claim.source for claim in self.root))


class Minimum(Model):
    """The oldest version of a piece of software that serves a target."""

    version: Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]
    source: Text
    note: str = ""

    def admits(self, installed: str) -> bool:
        """Whether an installed version is no older; what follows the numbers ("+cu130", "rc1") is not looked at."""
        return _numbers(installed) >= _numbers(self.version)


def _numbers(version: str) -> tuple[int, ...]:
    """3.9.0+git of "3.9.0" as (3, 9): zeros at the end say nothing, so 3.9 and 3.9.0 are the same."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
