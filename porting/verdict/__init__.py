"""Holds evidence against budgets, from records alone: no device, no runtime, no file is looked at."""

from porting.verdict.ladder import judge_target

__all__ = ["judge_target"]
