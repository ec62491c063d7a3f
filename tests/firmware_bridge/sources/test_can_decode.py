"""Frames to readings: what the parked car says, and that nothing damaged, repeated or foreign is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import signals as s
from firmware_bridge.readings import Quality, Value
from firmware_bridge.sources.can_decode import Decoder
from firmware_bridge.sources.can_map import load_map
from tests.firmware_bridge.sources.tesla_frames import DATABASE, PARKED, frame

CAR = load_map("tesla_model3")


def decode(decoder: Decoder, frame_id: int, data: bytes) -> dict[str, tuple[Value, Quality]]:
    return {each.name: (each.value, each.quality) for each in decoder.decode(frame_id, False, data, 7)}


def said(message: str, **values: float) -> dict[str, tuple[Value, Quality]]:
    return decode(Decoder(CAR), *frame(message, **values))


def test_the_parked_car() -> None:
    found = {name: value for message in PARKED for name, value in said(message).items()}
    assert {quality for _, quality in found.values()} == {Quality.GOOD}
    values = {name: value for name, (value, _) in found.items()}
    assert values.pop(s.VOLTAGE_12V) == pytest.approx(13.4, abs=0.01)
    assert values.pop(s.PACK_POWER) == pytest.approx(390 * 18)
    assert values.pop(s.CHARGE) == pytest.approx(80.5)
    assert values.pop(s.SPEED) == pytest.approx(0.0, abs=1e-9)
    assert values == {
        s.GEAR: 126.0,
        s.POWER_STATE: "OFF",
        s.DRIVER_DOOR: False,
        s.REAR_DRIVER_DOOR: False,
        s.PASSENGER_DOOR: False,
        s.REAR_PASSENGER_DOOR: False,
        s.DRIVER_SEAT: False,
        s.PASSENGER_SEAT: False,
        s.IS_CHARGING: True,
        s.PACK_HOTTEST: 26.5,
        s.PACK_COLDEST: 24.0,
    }


@pytest.mark.parametrize(
    ("message", "change", "name", "value", "quality"),
    [
        ("DI_systemStatus", {"DI_gear": 4}, s.GEAR, 127.0, Quality.GOOD),
        ("DI_systemStatus", {"DI_gear": 7}, s.GEAR, None, Quality.ABSENT),
        ("DI_systemStatus", {"DI_gear": 5}, s.GEAR, None, Quality.INVALID),
        ("DI_speed", {"DI_vehicleSpeed": 284.0}, s.SPEED, 284.0, Quality.GOOD),
        ("DI_speed", {"DI_vehicleSpeed": 287.6}, s.SPEED, None, Quality.INVALID),  # 0xFFF: not available
        ("VCLEFT_doorStatus", {"VCLEFT_frontLatchStatus": 5}, s.DRIVER_DOOR, True, Quality.GOOD),
        ("VCLEFT_doorStatus", {"VCLEFT_frontLatchStatus": 8}, s.DRIVER_DOOR, None, Quality.ABSENT),
        ("VCLEFT_doorStatus", {"VCLEFT_frontLatchStatus": 9}, s.DRIVER_DOOR, None, Quality.INVALID),
        ("BMS_socStatus", {"BMS_socUI": 102.3}, s.CHARGE, None, Quality.INVALID),
        ("VCFRONT_LVPowerState", {"VCFRONT_vehiclePowerState": 3}, s.POWER_STATE, "ON", Quality.GOOD),
    ],
)
def test_values(message: str, change: dict[str, float], name: str, value: Value, quality: Quality) -> None:
    got, judged = said(message, **change)[name]
    assert judged is quality
    assert got == (pytest.approx(value, abs=0.05) if isinstance(value, float) else value)


@given(st.sampled_from(["DI_systemStatus", "DI_speed", "VCFRONT_LVPowerState"]), st.integers(0, 63))
def test_every_flipped_bit_is_seen(message: str, bit: int) -> None:
    frame_id, data = frame(message, counter=3)
    flipped = (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(8, "little")
    decoder = Decoder(CAR)
    assert {quality for _, quality in decode(decoder, frame_id, flipped).values()} == {Quality.INVALID}
    assert decoder.counts.bad_checksums == 1


@given(st.sampled_from(sorted(PARKED)), st.integers(0, 7))
def test_a_frame_of_another_length_is_invalid(message: str, length: int) -> None:
    frame_id, data = frame(message)
    found = decode(Decoder(CAR), frame_id, data[:length])
    assert found
    assert {quality for _, quality in found.values()} == {Quality.INVALID}


def test_a_counter_that_stands_still_confirms_nothing() -> None:
    decoder = Decoder(CAR)
    assert decode(decoder, *frame("DI_speed", counter=14))
    assert decode(decoder, *frame("DI_speed", counter=15))
    assert decode(decoder, *frame("DI_speed", counter=0))
    assert not decode(decoder, *frame("DI_speed", counter=0))
    assert decode(decoder, *frame("DI_speed", counter=3))
    assert (decoder.counts.stuck_counters, decoder.counts.lost_frames) == (1, 2)


def test_another_mux_page_says_nothing() -> None:
    frame_id, data = frame("VCLEFT_switchStatus")
    page_1 = bytes([data[0] & ~3 | 1]) + data[1:]
    assert not decode(Decoder(CAR), frame_id, page_1)


def test_foreign_frames_are_ignored() -> None:
    decoder = Decoder(CAR)
    assert not list(decoder.decode(0x118, True, bytes(8), 0))  # the same id, but extended
    assert not list(decoder.decode(0x119, False, bytes(8), 0))
    assert decoder.counts.frames == 0


@given(st.sampled_from([each.frame_id for each in DATABASE.messages]), st.binary(max_size=64))  # type: ignore[union-attr]
def test_any_payload_is_decoded_without_a_crash(frame_id: int, data: bytes) -> None:
    for reading in Decoder(CAR).decode(frame_id, False, data, 0):
        assert (reading.value is None) == (reading.quality is not Quality.GOOD)
