"""h of outcomes where float32 cannot tell the averages from zero."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from fkdsl.proposals.tilts import Guided, TiltSettings, tilts_of

V = 300


class Way:
    """A way to end of which the average is `average` 2^power, and each likely token's h `own`."""

    def __init__(self, average, power, own):
        self.average, self.power, self.own = average, power, own
        self.masks = SimpleNamespace(position=lambda ids: (0, b""))

    def averages(self, beliefs, positions, tokens_left):
        m = len(positions)
        averages = np.full((m, V), self.average, dtype=np.float32)
        return averages, np.full(m, self.power, dtype=np.int32)

    def of_tokens(self, beliefs, positions, tokens_left, texts, ids):
        return np.full(len(ids), self.own)


TINY = Way(0.5, -199, 2.0**-200)
NONE = Way(0.0, 0, 0.0)


@pytest.mark.parametrize(
    ("ways", "h"),
    [
        ((TINY,), 2.0**-200),
        ((Way(0.5, -199, 1e-3),), 1e-3),  # a rare hidden state alone gives the token
        ((TINY, NONE), 2.0**-200),
        ((NONE, TINY), 2.0**-200),
        ((TINY, TINY), 2.0**-199),
        ((TINY, Way(0.1, 0, 0.1)), 0.1),
        ((Way(0.5, -1059, 2.0**-1060),) * 2, 2.0**-1059),
    ],
)
@pytest.mark.filterwarnings("error")
def test_h_is_the_tokens_own_however_far_it_is_from_the_averages(ways, h):
    p = np.full(V, 1.0 / V)
    outcomes = SimpleNamespace(p=p, ids=None)
    draw = Guided(outcomes, np.ones(1), ways, (), 5, 1.0, -3.0)
    ((tilt, drift),) = tilts_of([draw], TiltSettings(power=1.0, floor=0.2, caution=0.0))
    assert [tilt.log_h(i) for i in (0, V - 1)] == pytest.approx([math.log(h)] * 2)
    assert drift == pytest.approx(math.log(h) + 3.0)
