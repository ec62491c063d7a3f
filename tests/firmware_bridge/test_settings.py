"""The settings loader: every kind of wrong file says where, expected and got; the template loads to the defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.bridge_settings import BridgeSettings
from firmware_bridge.errors import SettingsError
from firmware_bridge.policy_settings import Policy
from firmware_bridge.settings import as_dict, load, parse, rows, setting, template


@dataclass(frozen=True)
class Inner:
    """An inner section."""

    dwell_s: float = setting(60.0, unit="s", low=0, high=100, doc="quiet time")
    mode: str = setting("slow", choices=("slow", "fast"), doc="how")
    names: tuple[str, ...] = setting((), doc="names")


@dataclass(frozen=True)
class Outer:
    """An outer section."""

    key: str = setting(doc="must be given")
    is_on: bool = setting(False, doc="on")
    count: int = setting(3, low=1, doc="how many")
    inner: Inner = field(default_factory=Inner)


def test_values_and_defaults() -> None:
    got = parse('key = "k"\ncount = 5\n[inner]\ndwell_s = 7\nnames = ["a"]', Outer)
    assert got == Outer("k", False, 5, Inner(7.0, "slow", ("a",)))
    assert isinstance(got.inner.dwell_s, float)


def test_result_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse('key = "k"', Outer).count = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["car.toml", "key is missing", "a text"]),
        ('key = "k"\n[inner]\ndwel_s = 1', ["car.toml", "inner.dwel_s", "did you mean dwell_s?"]),
        ('key = "k"\nzzzz = 1', ["zzzz", "there are: key, is_on"]),
        ('key = "k"\n[inner]\ndwell_s = 101', ["inner.dwell_s", "a number from 0 to 100 s", "got 101"]),
        ('key = "k"\n[inner]\ndwell_s = nan', ["inner.dwell_s", "got nan"]),
        ('key = "k"\n[inner]\ndwell_s = inf', ["inner.dwell_s", "got inf"]),
        ('key = "k"\n[inner]\ndwell_s = true', ["inner.dwell_s", "got True"]),
        ('key = "k"\n[inner]\nmode = "medium"', ["inner.mode", "one of 'slow', 'fast'", "got 'medium'"]),
        ('key = "k"\n[inner]\nnames = "a"', ["inner.names", "a list of texts", "got 'a'"]),
        ('key = "k"\n[inner]\nnames = ["a", 1]', ["inner.names", "a list of texts"]),
        ('key = "k"\ninner = 1', ["inner must be a section", "got 1"]),
        ('key = "k"\ncount = 0', ["count", "an integer of at least 1", "got 0"]),
        ('key = "k"\ncount = 1.0', ["count", "an integer", "got 1.0"]),
        ('key = "k"\nis_on = 1', ["is_on", "true or false", "got 1"]),
        ("key = 1", ["key", "a text", "got 1"]),
        ("key = ", ["car.toml is not TOML"]),
    ],
)
def test_wrong_files_say_where_expected_and_got(text: str, words: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, Outer, where="car.toml")
    for word in words:
        assert word in str(caught.value)


def test_absent_and_unreadable_files(tmp_path) -> None:
    with pytest.raises(SettingsError, match="no settings file"):
        load(tmp_path / "none.toml", Inner)
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path, Inner)
    (tmp_path / "latin.toml").write_bytes(b'mode = "\xff"')
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "latin.toml", Inner)


def test_overrides_go_first_and_are_checked() -> None:
    got = parse('key = "k"\n[inner]\ndwell_s = 7', Outer, overrides={"inner.dwell_s": 8.0, "count": 4})
    assert (got.inner.dwell_s, got.count) == (8.0, 4)
    with pytest.raises(SettingsError, match=r"inner\.dwell_s must be a number from 0 to 100 s, got -1"):
        parse('key = "k"', Outer, overrides={"inner.dwell_s": -1})
    with pytest.raises(SettingsError, match="is a value, not a section"):
        parse('key = "k"', Outer, overrides={"key.x": 1})


@pytest.mark.parametrize("shape", [Inner, BridgeSettings, Policy])
def test_template_loads_to_the_defaults(shape: type) -> None:
    assert parse(template(shape), shape) == shape()


def test_template_documents_every_row() -> None:
    text = template(Outer)
    for row in (*rows(Outer), *rows(Inner)):
        assert row.name in text
        assert row.doc in text
        assert row.expected() in text


def test_section_rules_between_rows() -> None:
    with pytest.raises(SettingsError, match="battery_min_C must be below"):
        parse("[heat]\nbattery_min_C = 20\nbattery_max_C = 20", Policy)
    with pytest.raises(SettingsError, match="22:00-06:00, got '25:00-26:00'"):
        parse('[owner]\nhours = ["25:00-26:00"]', Policy)
    with pytest.raises(SettingsError, match="cut_V must not be above"):
        parse("[low_voltage]\ncut_V = 12.5", Policy)


def test_core_signals_cannot_be_left_out() -> None:
    with pytest.raises(SettingsError, match=r"car\.not_fitted"):
        parse('[car]\nnot_fitted = ["Vehicle.Speed"]', Policy)


@given(st.text(max_size=60))
def test_any_text_loads_or_is_a_settings_error(text: str) -> None:
    try:
        got = parse(text, Policy)
    except SettingsError:
        return
    assert as_dict(got)


@given(
    st.dictionaries(
        st.sampled_from([f"charge.{row.name}" for row in rows(type(Policy().charge))]),
        st.one_of(st.floats(), st.integers(), st.booleans(), st.text(max_size=3), st.none(), st.lists(st.integers())),
    )
)
def test_any_value_is_within_its_range_or_an_error(overrides: dict) -> None:
    try:
        charge = parse("", Policy, overrides=overrides).charge
    except SettingsError:
        return
    assert 5 <= charge.floor_pct <= 95
    assert 0 <= charge.reserve_pct <= 100
    assert isinstance(charge.charging_only, bool)
