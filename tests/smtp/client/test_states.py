"""The tables and what is drawn of them."""

import re

import pytest

from onionmx.smtp.client import states, transaction
from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.states import MOVES, State, Transition
from onionmx.smtp.client.transaction import PHASES, Act, Phase
from onionmx.smtp.faults import MisuseError


def test_drawn_states_are_the_table() -> None:
    drawn = set(re.findall(r"^    ([A-Z]+) +([a-z]+(?: [a-z]+)?) +([A-Z]+)$", states.__doc__ or "", re.MULTILINE))
    for state in MOVES:
        if state not in {State.CLOSED, State.BROKEN}:
            drawn |= {(state.name, "ended", "CLOSED"), (state.name, "out of step", "BROKEN")}
    assert drawn == {(state.name, step.value, to.name) for state, moves in MOVES.items() for step, to in moves.items()}


def test_drawn_phases_are_the_table() -> None:
    acts = (Act.ADD_RECIPIENT, Act.SEND, Act.SEND_LAST, Act.ABANDON, Act.PEER)
    lines = (transaction.__doc__ or "").splitlines()
    for phase in Phase:
        row = next(line for line in lines if line.startswith(f"    {phase.name} "))
        expected = [PHASES[phase][act].name if act in PHASES[phase] else "-" for act in acts]
        assert row.split()[1:] == expected


def test_every_state_is_reached_and_has_its_moves() -> None:
    reached = {to for moves in MOVES.values() for to in moves.values()}
    assert reached | {State.GREETING, State.EARLY} == set(State) == set(MOVES)
    assert {step for moves in MOVES.values() for step in moves} == set(Transition)


@pytest.mark.parametrize("act", ["quit", "start_tls", "tls_started"])
def test_nothing_is_possible_before_the_greeting(act: str) -> None:
    with pytest.raises(MisuseError):
        getattr(ClientConnection("client.example"), act)()
