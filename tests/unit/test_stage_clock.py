"""Where the time goes."""

import pytest

from ftm.mapping.stage_clock import StageClock


def test_shares_add_up_and_name_the_rest() -> None:
    """Measured stages and the rest make up the whole, on a scripted clock."""
    ticks = iter([0.0, 1.0, 7.0, 8.0, 9.0, 10.0, 10.0])
    clock = StageClock(lambda: next(ticks))
    with clock.measure("embed"):
        pass
    with pytest.raises(KeyError), clock.measure("read"):
        raise KeyError
    assert clock.shares() == pytest.approx({"embed": 0.6, "read": 0.1, "rest": 0.3})
    assert clock.summary() == "embed 60%, read 10%, rest 30%"
