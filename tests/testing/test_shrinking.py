"""What fails shrinks to the program that one would have written, and is shown as its lines."""

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import fkdsl
from fkdsl.inference.samplers import steer as steer_module
from fkdsl.proposals.settings import ProposalSettings
from fkdsl.testing import assert_same_measure, assert_unbiased, machines, programs

EXPAND = steer_module.expand
SHRINKING = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def report_of(check, strategy):
    """What Hypothesis prints of a check that fails: its message, and the case it has shrunk to."""
    with pytest.raises(AssertionError) as failure:
        SHRINKING(given(strategy)(lambda drawn: check(drawn)))()
    return str(failure.value), "\n".join(failure.value.__notes__)


def shown_program(notes):
    """The text between the triple quotes."""
    return notes.split('fkdsl.parse("""\n')[1].split('"""')[0]


def text_of(program):
    return program.checked.module.source.text


def conditions_dropped(program):
    """A pass that loses every condition."""
    assert_same_measure(program, text_of(program).replace("condition ", "lost = "))


def mass_of_guides_forgotten(program):
    """A guided draw that masks and does not weigh."""
    assert_same_measure(program, program.feynman_kac(proposals=ProposalSettings(local=True)))


def powers_wrong(program):
    assert_same_measure(program, text_of(program).replace("** 0.5", "** 0.6"))


def second_draw_never_made(program):
    assert_same_measure(program, text_of(program).replace("lm.done", "lm.tokens > 0"))


def copies_keep_the_whole_weight(program):
    """A steer whose expansion does not divide by K."""

    def expand(model, step, t, N, K):
        x, _, A = EXPAND(model, step, t, N, K)
        return x, np.array([step.log_weights[a] for a in A]), A

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steer_module, "expand", expand)
        assert_unbiased(program, "steer", particles=1)


ONE_ROW = 'model m = table:\n    "" -> "a": 1.0\n\n'
ONE_DRAW = ONE_ROW + 'program main() -> str:\n    lm = prompt("")\n    t ~ lm\n    return lm.text\n'
EXACTLY = {
    conditions_dropped: ONE_DRAW.replace("    return", '    condition t != "a"\n    return'),
    copies_keep_the_whole_weight: ONE_DRAW,
    second_draw_never_made: ONE_DRAW.replace(
        "    t ~ lm\n",
        "    for i in range(2):\n        if lm.done:\n            break\n        t ~ lm\n",
    ),
}
AT_MOST = {mass_of_guides_forgotten: 9, powers_wrong: 7}
"""Lines, the blank one among them."""
to_the_letter = pytest.mark.skipif(
    hypothesis.__version_info__ < (6, 170),
    reason="older releases of Hypothesis shrink to other programs, as small",
)


@to_the_letter
@pytest.mark.parametrize("bug", EXACTLY, ids=lambda bug: bug.__name__)
def test_a_planted_bug_shrinks_to_the_program_one_would_write(bug):
    _, notes = report_of(bug, programs())
    assert shown_program(notes) == EXACTLY[bug]


@pytest.mark.parametrize("bug", AT_MOST, ids=lambda bug: bug.__name__)
def test_a_planted_bug_shrinks_to_a_few_lines_with_one_draw(bug):
    _, notes = report_of(bug, programs())
    text = shown_program(notes)
    assert len(text.splitlines()) <= AT_MOST[bug]
    assert text.count("~") == 1
    with pytest.raises(AssertionError):
        bug(fkdsl.parse(text))


@to_the_letter
def test_the_message_says_which_value_and_both_masses_and_z():
    message, notes = report_of(conditions_dropped, programs())
    assert "mass of 'a': 0.0 and 1.0" in message
    assert "Z, the sum             0             1  <-" in message
    assert "Traceback" not in notes


def test_a_machine_shrinks_to_one_site_and_one_step():
    """A check that no potential above 1 passes."""

    def none_above_one(machine):
        assert all(g <= 1.0 for G in machine.G for row in G for g in row)

    _, notes = report_of(none_above_one, machines(sites=3, steps=3))
    assert "M=(((1.0,),),), G=(((2.0,),),), G0=1.0, stops=frozenset()" in " ".join(
        notes.split()
    ).replace("( ", "(")


def test_what_is_shown_is_the_program_again():
    @settings(max_examples=40)
    @given(programs(), st.sampled_from([(), ("fuse",), ("fuse", "merge")]))
    def check(program, off):
        program = program.without(*off) if off else program
        again = eval(repr(program), {"fkdsl": fkdsl})
        assert text_of(again).strip() == text_of(program).strip()
        assert again.off == program.off

    check()


def test_programs_of_files_with_arguments_are_shown_as_their_call():
    program = fkdsl.load("programs/two_bits.fk")
    assert repr(program) == "fkdsl.load('programs/two_bits.fk')"
    assert (
        repr(program(n=3).without("fuse"))
        == "fkdsl.load('programs/two_bits.fk')(n=3).without('fuse')"
    )
    quoted = fkdsl.parse('program p() -> str:\n    """Says \\n."""\n    return "a"\n')
    assert text_of(eval(repr(quoted))).strip() == text_of(quoted).strip()
    assert repr(quoted).startswith("fkdsl.parse(r'''\nprogram")
