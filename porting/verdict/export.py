"""Exported: every component has a file whose state contract was proved."""

from collections.abc import Sequence

from porting.program import Program
from porting.record import Check, ComponentRecord, Step
from porting.verdict.evidence import check_complete, failed, hold_at_most, not_measured, passed, say_names

MAX_RELATIVE_ERROR = 1e-3
"""Of the exported graph against its module over everything exercised. It tells another function from the same one:
float32 in another order of rounding gives 1e-7 to 1e-5, a missing state 1e-2 and more. Parity asks how exact."""
ALWAYS_EXERCISED = frozenset({"closed loop", "reset", "aliasing"})


def check_exports(program: Program, components: Sequence[ComponentRecord]) -> tuple[Check, ...]:
    """Checks of step `exported`."""
    step, wanted = Step.EXPORTED, [component.name for component in program.components]
    if not components:
        return (not_measured(step, "components", "program", f"None of {say_names(wanted)} was exported."),)
    found = [component.name for component in components]
    wrong = sorted({name for name in (*wanted, *found) if wanted.count(name) != found.count(name)})
    if wrong:
        reason = f"The program has components {say_names(wanted)}, exported were {say_names(found)}."
        return (failed(step, "components", "program", reason),)
    reason = f"All {len(wanted)} components of the program were exported: {', '.join(wanted)}."
    checks = [passed(step, "components", "program", reason)]
    for component in components:
        checks += [
            check_complete(step, component.name, component),
            _check_states(program, component),
            _check_exercised(program, component),
            hold_at_most(
                step,
                "graph computes what the module computes",
                component.name,
                (component.contract.max_relative_error, MAX_RELATIVE_ERROR, ""),
                f"{component.name}: the exported graph was off by at most {component.contract.max_relative_error:.2g}"
                f" (relative) from its module over {len(component.contract.exercised)} exercises; the limit is"
                f" {MAX_RELATIVE_ERROR:g}.",
            ),
        ]
    return tuple(checks)


def _check_states(program: Program, component: ComponentRecord) -> Check:
    """The contract covers exactly the states that the program says the component reads and writes."""
    name, contract = "declared states", component.contract
    read, written = _find_states(program, component.name)
    if contract.mutated_buffers:
        hidden = say_names(list(contract.mutated_buffers))
        return failed(
            Step.EXPORTED, name, component.name, f"{component.name}: mutates {hidden}, which is hidden state."
        )
    for verb, declared, proved in (("reads", read, contract.states_in), ("writes", written, contract.states_out)):
        if declared != set(proved):
            reason = (
                f"{component.name}: {verb} {say_names(sorted(declared)) or 'no state'} in the program, but the contract"
                f" was proved for {say_names(sorted(proved)) or 'none'}."
            )
            return failed(Step.EXPORTED, name, component.name, reason)
    reason = f"{component.name}: reads {len(read)} and writes {len(written)} declared states, and keeps nothing else."
    return passed(Step.EXPORTED, name, component.name, reason)


def _check_exercised(program: Program, component: ComponentRecord) -> Check:
    """What can go wrong with the states was run: for a ring, that it wraps around and keeps its sink."""
    name, exercised = "contract was exercised", set(component.contract.exercised)
    touched = set().union(*_find_states(program, component.name))
    rings = [program.ring(state.ring) for state in program.states if state.tensor.name in touched and state.ring]
    wanted = set(ALWAYS_EXERCISED) | ({"wrap-around"} if rings else set())
    wanted |= {"sink"} if any(ring.sink for ring in rings) else set()
    lacking = sorted(wanted - exercised)
    if lacking:
        reason = f"{component.name}: {say_names(lacking)} was not exercised before its file was written."
        return not_measured(Step.EXPORTED, name, component.name, reason)
    return passed(
        Step.EXPORTED, name, component.name, f"{component.name}: exercised were {', '.join(sorted(exercised))}."
    )


def _find_states(program: Program, component: str) -> tuple[set[str], set[str]]:
    """Names of the states that the component's calls read, and of those that they write."""
    calls = [call for _, _, call in program.calls() if call.component == component]
    read = {source.name for call in calls for source in call.inputs.values() if source.kind == "state"}
    written = {sink.name for call in calls for sink in call.outputs.values() if sink.kind == "state"}
    return read, written
