"""A car's map: bit fields agree with cantools for any layout; every wrong map says where."""

from __future__ import annotations

from pathlib import Path

import cantools.database
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import cars
from firmware_bridge import signals as s
from firmware_bridge.errors import SourceError
from firmware_bridge.sources.can_map import load_map

TESLA = Path(cars.__file__).parent / "tesla_model3.dbc"


def write(folder: Path, toml: str, dbc: str) -> str:
    (folder / "car.dbc").write_text(dbc)
    (folder / "car.toml").write_text('dbc = "car.dbc"\n' + toml)
    return str(folder / "car.toml")


def dbc_of(signal: str, length: int = 8) -> str:
    return f'VERSION ""\n\nBU_: A\n\nBO_ 100 M: {length} A\n {signal}\n'


SPEED = '[signals."Vehicle.Speed"]\nmessage = "M"\nsignal = "X"\n'


@settings(max_examples=300)
@given(
    is_little=st.booleans(),
    is_signed=st.booleans(),
    start=st.integers(0, 63),
    bits=st.integers(1, 32),
    data=st.binary(min_size=8, max_size=8),
    scale=st.sampled_from([1, 0.5, 0.08, -0.1]),
    offset=st.sampled_from([0, -40, 822]),
)
def test_a_bit_field_is_what_cantools_says(
    tmp_path_factory: pytest.TempPathFactory,
    is_little: bool,
    is_signed: bool,
    start: int,
    bits: int,
    data: bytes,
    scale: float,
    offset: float,
) -> None:
    text = f'SG_ X : {start}|{bits}@{int(is_little)}{"-" if is_signed else "+"} ({scale},{offset}) [0|0] "" A'
    try:
        database = cantools.database.load_string(dbc_of(text), database_format="dbc", strict=True)
    except cantools.database.Error:
        return  # the field does not fit into the frame
    expected = database.decode_message(100, data)["X"]  # type: ignore[index]
    car = load_map(write(tmp_path_factory.mktemp("car"), SPEED, dbc_of(text)))
    field = car.messages[100, False].signals[0].field
    assert field.raw(data) * field.scale + field.offset == pytest.approx(expected)


def test_the_map_that_comes_with_the_bridge() -> None:
    car = load_map("tesla_model3")
    assert car.name == "Tesla Model 3/Y"
    named = {signal.name for message in car.messages.values() for signal in message.signals}
    core_of_a_car = {name for name, row in s.SIGNALS.items() if row.is_core} - {s.CONSENT, s.COMPUTE_TEMPERATURE}
    assert core_of_a_car <= named
    gear = car.messages[0x118, False]
    assert gear.counter is not None
    assert gear.checksum is not None


def test_the_dbc_agrees_with_the_values_named_in_it() -> None:
    database = cantools.database.load_file(TESLA, strict=True)
    car = load_map("tesla_model3")
    gear = database.get_message_by_name("DI_systemStatus").get_signal_by_name("DI_gear")  # type: ignore[union-attr]
    gears = {raw: str(name) for raw, name in gear.choices.items()}
    values = car.messages[0x118, False].signals[0].values
    assert {gears[raw]: value for raw, value in values.items()} == {"P": 126.0, "R": -1.0, "N": 0.0, "D": 127.0}


DBC = dbc_of('SG_ X : 0|8@1+ (1,0) [0|0] "" A\n SG_ Y : 8|12@1+ (1,0) [0|0] "" A')


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("", "signals must be at least one signal"),
        ("color = 1\n", "color is not a key"),
        ('[signals."Vehicle.Sped"]\nmessage = "M"', "signals.Vehicle.Sped is not in the signals' table"),
        (f'[signals."{s.FILTERED_12V}"]\nmessage = "M"\nsignal = "X"', "a signal that a car delivers"),
        ('[signals."Vehicle.Speed"]\nmessage = "N"\nsignal = "X"', "a message of"),
        ('[signals."Vehicle.Speed"]\nmessage = "M"\nsignal = "Z"', "a signal of M, got 'Z'"),
        (SPEED + 'scale = "1"', "scale must be a number, got '1'"),
        (SPEED + "scale = nan", "scale must be a number, got nan"),
        (SPEED + "factor = 1", "signals.Vehicle.Speed.factor is not a key"),
        (SPEED + 'times = "Z"', "times must be a signal of M"),
        (SPEED + "values = 3", "values must be a table"),
        (SPEED + "values = { a = 3 }", "raw numbers to values"),
        (SPEED + "values = { 1 = 1000 }", "raw numbers to values that Vehicle.Speed can have"),
        (SPEED + "absent = 3", "absent must be a list of raw numbers"),
        ('[signals."Vehicle.IsMoving"]\nmessage = "M"\nsignal = "X"', "the signal is no number"),
        (SPEED + '[messages.N]\ncounter = "X"', "messages.N is not in"),
        (SPEED + '[messages.M]\ncounter = "Z"', "counter must be a signal of M"),
        (SPEED + '[messages.M]\nchecksum = "X"', "checksum_kind must be one of sum8_with_id, got None"),
        (SPEED + '[messages.M]\nchecksum = "Y"\nchecksum_kind = "sum8_with_id"', "one whole byte"),
        ("signals = 3", "signals must be a table"),
        ('[signals]\n"Vehicle.Speed" = 3', "Vehicle.Speed must be a table"),
    ],
)
def test_wrong_maps_say_where(tmp_path: Path, toml: str, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        load_map(write(tmp_path, toml, DBC))


def test_absent_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no car is called 'tesla_model4'.*there are: tesla_model3"):
        load_map("tesla_model4")
    with pytest.raises(SourceError, match="there is no car map"):
        load_map(str(tmp_path / "none.toml"))
    with pytest.raises(SourceError, match="is damaged"):
        load_map(write(tmp_path, SPEED, "BO_ 100 M 8"))
    (tmp_path / "car.toml").write_text('dbc = "none.dbc"\n' + SPEED)
    with pytest.raises(SourceError, match="there is no DBC"):
        load_map(str(tmp_path / "car.toml"))
    (tmp_path / "car.toml").write_text("dbc = 3\n")
    with pytest.raises(SourceError, match="dbc must be the name of a DBC file"):
        load_map(str(tmp_path / "car.toml"))
    (tmp_path / "car.toml").write_text("dbc = ")
    with pytest.raises(SourceError, match="cannot be read"):
        load_map(str(tmp_path / "car.toml"))


@settings(max_examples=100)
@given(st.data())
def test_a_corrupted_dbc_is_an_error_or_a_map(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("car")
    text = bytearray(TESLA.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    (folder / "tesla_model3.dbc").write_bytes(bytes(text))
    (folder / "car.toml").write_text(TESLA.with_suffix(".toml").read_text())
    try:
        car = load_map(str(folder / "car.toml"))
    except SourceError:
        return
    assert car.messages
