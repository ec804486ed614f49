"""Reports of the SpaceMouse family."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.spacemouse import (
    FULL_SCALE,
    MODELS,
    N_BUTTONS,
    Report,
    encode_buttons,
    encode_rotation,
    encode_translation,
    parse,
)

AXES = st.tuples(*[st.integers(-FULL_SCALE, FULL_SCALE).map(lambda n: n / FULL_SCALE)] * 3)


@pytest.mark.parametrize(
    ("data", "report"),
    [
        # x fully right; y fully away and z fully up count backwards on the wire.
        ("015e01a2fea2fe", Report(translation=(1.0, 1.0, 1.0))),
        ("02a2fea2fe5e01", Report(rotation=(1.0, 1.0, 1.0))),
        # Models from 2013 on put both into one report.
        (
            "015e0100000000000000005e01",
            Report(translation=(1.0, 0.0, 0.0), rotation=(0.0, 0.0, 1.0)),
        ),
        ("0301", Report(buttons=frozenset({0}))),
        ("030200", Report(buttons=frozenset({1}))),
        ("0300004000", Report(buttons=frozenset({22}))),  # Escape of the larger models.
        ("0300000000", Report(buttons=frozenset())),
        ("1750", Report()),  # The battery is at 80 %.
        ("015e01a2fea2", None),
        ("02", None),
        ("03", None),
        ("04ff", None),
        ("", None),
    ],
)
def test_reports_say_what_the_published_table_says(data: str, report: Report | None) -> None:
    assert parse(bytes.fromhex(data)) == report


@given(AXES)
def test_axes_come_back(axes: tuple[float, float, float]) -> None:
    translation, rotation = parse(encode_translation(axes)), parse(encode_rotation(axes))
    assert translation is not None
    assert rotation is not None
    assert translation.translation == pytest.approx(axes)
    assert rotation.rotation == pytest.approx(axes)


@given(st.frozensets(st.integers(0, N_BUTTONS - 1)))
def test_buttons_come_back(buttons: frozenset[int]) -> None:
    assert parse(encode_buttons(buttons)) == Report(buttons=buttons)


@given(st.integers(1, 3), st.binary(max_size=64))
def test_any_bytes_at_all_stay_in_range(number: int, body: bytes) -> None:
    report = parse(bytes([number]) + body)
    if report is not None:
        for axes in (report.translation, report.rotation):
            assert axes is None or all(-1.0 <= axis <= 1.0 for axis in axes)
        assert all(0 <= button < N_BUTTONS for button in report.buttons or ())


@given(st.binary(max_size=64))
def test_what_is_no_report_is_none_and_never_an_exception(data: bytes) -> None:
    parse(data)


def test_every_model_is_3dconnexions() -> None:
    assert {vendor for vendor, _ in MODELS} == {0x046D, 0x256F}
    assert MODELS[0x256F, 0xC635] == "SpaceMouse Compact"
