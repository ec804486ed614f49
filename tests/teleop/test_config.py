"""A rig file's numbers: one of the wrong sign would bound nothing, so none is taken."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.errors import ConfigError
from dexhil.drivers.registry import parse
from dexhil.teleop.config import TeleopConfig

SHARES = ["arm_speed_fraction", "hand_speed_fraction"]
PLACES = ["workspace_low", "workspace_high", "cube_position", "cube_rpy"]
SIGNED = [*PLACES, "table_height"]
FROM_ZERO = ["ramp_s", "arm_margin", "bleed_rate", "policy_prefetch_steps", "camera_frozen_s"]
WHOLE = ["policy_prefetch_steps", "presses_per_s", "frozen_samples"]
WORDS = ["hand_filter", "shadow"]
NAMES = [field.name for field in fields(TeleopConfig) if field.name not in WORDS]

names = st.sampled_from(NAMES)
endless = st.sampled_from([np.nan, np.inf, -np.inf])


def taken(name, value):
    options = {name: (0.0, value, 0.0) if name in PLACES else value}
    return getattr(parse(TeleopConfig, options, "[teleop]"), name)


@given(names, endless)
def test_no_number_may_be_endless(name, value):
    with pytest.raises(ConfigError, match=name):
        taken(name, value)


@given(names.filter(lambda name: name != "workspace_high"), st.floats(-1e9, -1e-9))
def test_only_a_place_may_be_negative(name, value):
    value = min(-1, int(value)) if name in WHOLE else value
    if name in SIGNED:
        assert taken(name, value) in (value, (0.0, value, 0.0))
        return
    with pytest.raises(ConfigError, match=rf"{name} is -.*, (must be|allowed)"):
        taken(name, value)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SIGNED)))
def test_zero_is_taken_only_where_it_means_something(name):
    if name in FROM_ZERO:
        assert taken(name, 0) == 0
        return
    with pytest.raises(ConfigError, match=f"{name} is 0, "):
        taken(name, 0)


@given(st.sampled_from(SHARES), st.floats(1.0, 1e6, exclude_min=True))
def test_no_more_than_the_whole_speed_of_a_joint_may_be_used(name, value):
    assert taken(name, 1.0) == 1.0
    with pytest.raises(ConfigError, match=f"{name} is .*, allowed above 0 to 1"):
        taken(name, value)


@pytest.mark.parametrize("axis", [0, 1, 2])
@given(st.floats(-10.0, 10.0), st.floats(0.0, 10.0))
def test_a_box_with_nothing_in_it_is_refused(axis, low, less):
    corners = np.array([[-20.0] * 3, [20.0] * 3])
    corners[:, axis] = low, low - less
    with pytest.raises(ConfigError, match=f"workspace_low is .* m in {'xyz'[axis]}, must be below"):
        parse(
            TeleopConfig,
            {"workspace_low": corners[0].tolist(), "workspace_high": corners[1].tolist()},
            "[teleop]",
        )
