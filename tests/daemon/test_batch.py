"""A batch in a real worker process: every input has one result, whatever dies or closes on the way; all is paid."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from runtime.backends.null import NullModel
from runtime.backends.protocol import Limits as ModelLimits
from runtime.backends.protocol import load_model
from runtime.cli.results import results as results_verb
from runtime.cli.status import status as status_verb
from runtime.daemon.client import Client, DaemonRefused
from runtime.jobs.batch import RESULT_CAP_BYTES, told
from runtime.jobs.job_file import parse_jobs
from runtime.ledger.audit import Damage, read_entries
from runtime.store.bundle import pack, sign
from runtime.store.keys import SigningKey
from runtime.store.manifest import ModelEntry, TensorSpec
from runtime.store.models import ModelStore
from tests.daemon.car import Car, car
from tests.daemon.test_lanes import install_variants

INPUT = {"name": "x", "shape": [4], "dtype": "float32"}
OUTPUT = {"name": "y", "shape": [2], "dtype": "float32"}


def install_null(folder: Path, latency_us: int = 10_000, together: int = 1) -> None:
    """Installs a bundle whose model computes nothing, slowly; its outputs are a function of its inputs."""
    store = ModelStore(folder / "state" / "models")
    key = SigningKey.create(folder / "batch.key")
    store.trust(key.public)
    source = folder / "scorer"
    source.mkdir(parents=True)
    (source / "none").write_bytes(b"nothing")
    model = {
        "file": "none",
        "backends": ["null"],
        "inputs": [INPUT],
        "outputs": [OUTPUT],
        "options": {"null": {"latency_us": latency_us, "steps": 10, "outputs": "noise", "together": together}},
    }
    description = {"name": "scorer", "version": "1", "kind": "onnx", "licence": "MIT", "models": {"model": model}}
    pack(source, folder / "scorer.ihb", description=description)
    sign(folder / "scorer.ihb", key)
    store.install(folder / "scorer.ihb")


def batch(count: int, **fields: Any) -> dict[str, Any]:
    """Returns the fields of a spec; every input is another one."""
    inputs = [{"x": [number, 1.5, -2.0, 0]} for number in range(count)]
    (spec,) = parse_jobs({"model": "scorer@1", "batch": {"inputs": inputs, "chunk": 10_000}, **fields}, where="test")
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def expected(given: Mapping[str, Any]) -> Any:
    """Returns what the model says of one input, computed here."""
    entry = ModelEntry(
        file="none", inputs=(TensorSpec("x", (4,), "float32"),), outputs=(TensorSpec("y", (2,), "float32"),)
    )
    run = NullModel(entry, lambda seconds: None, 0, 1, True).start({"x": np.array(given["x"], np.float32)})
    run.step(None)
    return {name: told(array) for name, array in run.outputs().items()}


def drive(folder: Path, story: Callable[[Car], Awaitable[None]], **settings: Any) -> None:
    async def go() -> None:
        with car(folder, **settings) as made:
            await made.start()
            made.gate.open()
            await asyncio.wait_for(story(made), 90)

    asyncio.run(go())


async def results_of(made: Car, job: str) -> list[tuple[int, dict[str, Any]]]:
    found: list[tuple[int, dict[str, Any]]] = []
    async with await Client.connect(made.control) as client:
        while True:
            page = await client.results(job, len(found))
            found += [(number, json.loads(data)) for number, data in page.results]
            if not page.more:
                return found


async def until_some(made: Car, job: str, count: int) -> int:
    while (found := len(await results_of(made, job))) < count:
        await asyncio.sleep(0.02)
    return found


def test_every_input_has_its_result_over_a_driver_and_two_kills(tmp_path: Path) -> None:
    install_null(tmp_path)

    async def story(made: Car) -> None:
        fields = batch(150)
        job = await made.submit(**fields)
        await until_some(made, job, 1)
        made.gate.close()
        await made.until(job, "yielded")
        made.gate.open()
        seen = len(await results_of(made, job))
        await until_some(made, job, seen + 1)
        made.kill_worker()
        seen = len(await results_of(made, job))
        await until_some(made, job, seen + 1)
        made.kill()
        await made.start()
        ended = await made.job(job)
        while ended.state in ("queued", "claimed"):
            await asyncio.sleep(0.05)
            ended = await made.job(job)
        assert (ended.state, ended.answer, ended.actions) == ("done", "150 results", 150)
        found = await results_of(made, job)
        assert [number for number, _ in found] == list(range(150))
        assert [one["outputs"] for _, one in found] == [expected(given) for given in fields["batch"].inputs]
        out = tmp_path / "out.jsonl"
        done = await asyncio.to_thread(CliRunner().invoke, results_verb, [*made.flags, job, "--out", str(out)])
        assert done.exit_code == 0, done.output
        assert [json.loads(line)["number"] for line in out.read_text().splitlines()] == list(range(150))
        entries = [entry for entry in read_entries(tmp_path / "state" / "ledger") if not isinstance(entry, Damage)]
        assert len(entries) >= 4, "the run that yielded, the two that died, the one that ended"
        assert len({entry.owner_epoch for entry in entries}) == len(entries)
        assert sum(entry.actions for entry in entries) >= 150
        assert {entry.model for entry in entries} == {"scorer@1"}

    drive(tmp_path, story, **{"daemon.lease_s": 2})


def test_an_input_that_is_none_has_an_error_and_the_others_their_results(tmp_path: Path) -> None:
    install_null(tmp_path, latency_us=0)
    raw = base64.b64encode(np.arange(4, dtype="<f4").tobytes()).decode()
    inputs: list[dict[str, Any]] = [
        {"x": [1, 2, 3, 4]},
        {"x": [1, 2, 3]},
        {"y": [1, 2, 3, 4]},
        {"x": ["a", "b", "c", "d"]},
        {"x": {"shape": [4], "base64": raw}},
        {"x": {"shape": [3], "base64": raw}},
        {"x": [[1], [2, 3]]},
    ]

    async def story(made: Car) -> None:
        (spec,) = parse_jobs({"model": "scorer", "batch": {"inputs": inputs}}, where="test")
        job = await made.submit(**{name: getattr(spec, name) for name in spec.__struct_fields__})
        await made.until(job, "done")
        found = dict(await results_of(made, job))
        assert [("outputs" in found[number]) for number in range(7)] == [True, False, False, False, True, False, False]
        assert found[0]["outputs"] == expected(inputs[0])
        assert found[4]["outputs"] == expected({"x": [0, 1, 2, 3]})
        assert found[2]["error"] == "expected the inputs ['x'], got ['y']"
        assert "input 'x' must be float32 (4)" in found[1]["error"]
        assert (await made.job(job)).answer == "7 results, 5 of them errors"

    drive(tmp_path, story)


def test_a_real_model_says_in_a_batch_what_it_says_alone(tmp_path: Path) -> None:
    install_variants(tmp_path, "reader")
    bundle = ModelStore(tmp_path / "state" / "models").get("reader")
    _, model = load_model(bundle, ModelLimits(), "recognise")
    (wanted,) = model.inputs
    shape = (1, 3, 48, 96)
    draw = np.random.default_rng(5)
    arrays = [draw.random(shape, np.float32).astype(wanted.dtype) for _ in range(1)]
    inputs = [{wanted.name: {"shape": list(shape), "base64": base64.b64encode(a.tobytes()).decode()}} for a in arrays]

    async def story(made: Car) -> None:
        (spec,) = parse_jobs({"model": "reader", "batch": {"inputs": inputs, "role": "recognise"}}, where="test")
        job = await made.submit(**{name: getattr(spec, name) for name in spec.__struct_fields__})
        await made.until(job, "done", "failed")
        found = await results_of(made, job)
        for (_, result), array in zip(found, arrays, strict=True):
            run = model.start({wanted.name: array})
            run.step(None)
            alone = {name: told(one) for name, one in run.outputs().items()}
            size = len(json.dumps(alone))
            assert ("error" in result) is (size > RESULT_CAP_BYTES)
            if "outputs" in result:
                assert result["outputs"] == alone
        assert len(found) == 1

    drive(tmp_path, story)
    model.close()


def test_a_budget_ends_the_job_that_has_spent_it(tmp_path: Path) -> None:
    install_null(tmp_path)

    async def story(made: Car) -> None:
        (energy,) = parse_jobs({}, where="t", overrides={"budget.energy_kJ": 0.3, **_plain(batch(2000))})
        job = await made.submit(**{name: getattr(energy, name) for name in energy.__struct_fields__})
        await made.until(job, "failed")
        ended = await made.job(job)
        assert ended.answer.startswith("its budget of 0.3 kJ is spent")
        assert 100 < ended.joules < 900, (
            "275 W of a car that is awake for it: about a second; its receipt counts the run alone"
        )
        assert 0 < ended.actions < 2000
        (priced,) = parse_jobs({}, where="t", overrides={"budget.price": 0.1, **_plain(batch(2000))})
        job = await made.submit(**{name: getattr(priced, name) for name in priced.__struct_fields__})
        await made.until(job, "failed")
        ended = await made.job(job)
        assert ended.answer.startswith("its budget of 0.1 EUR is spent")
        assert 0.03 < ended.price < 0.5
        (foreign,) = parse_jobs(
            {}, where="t", overrides={"budget.price": 9, "budget.currency": "CHF", **_plain(batch(1))}
        )
        job = await made.submit(**{name: getattr(foreign, name) for name in foreign.__struct_fields__})
        cheap = await made.submit(**batch(1))
        await made.until(cheap, "done")
        assert (await made.job(job)).state == "queued", "this car is paid in another currency"

    drive(tmp_path, story, **{"prices.per_hour": 360.0})


@pytest.mark.parametrize("most", [8, 1])
def test_batches_of_one_model_are_computed_together_and_none_is_seen_in_another(tmp_path: Path, most: int) -> None:
    """Three at once, one of them full of inputs that are none; a driver comes in the middle; with and without."""
    install_null(tmp_path, together=8)

    async def story(made: Car) -> None:
        bad: list[dict[str, Any]] = [{"x": [1]} if number % 2 else {"x": [number, 0, 0, 0]} for number in range(60)]
        (mixed,) = parse_jobs({"model": "scorer@1", "batch": {"inputs": bad}}, where="test")
        fields = [{name: getattr(mixed, name) for name in mixed.__struct_fields__}, batch(60), batch(90)]
        first = await made.submit(**fields[0])
        await until_some(made, first, 1)  # what the model costs in company is known by now
        jobs = [first, *[await made.submit(**each) for each in fields[1:]]]
        await until_some(made, jobs[2], 1)
        made.gate.close()
        await made.until(jobs[2], "yielded")
        made.gate.open()
        for job in jobs:
            while (await made.job(job)).state != "done":
                await asyncio.sleep(0.05)
        for job, given in zip(jobs, fields, strict=True):
            found = dict(await results_of(made, job))
            for number, one in enumerate(given["batch"].inputs):
                if len(one["x"]) == 4:
                    assert found[number] == {"outputs": expected(one)}
                else:
                    assert "must be float32 (4)" in found[number]["error"]
        async with await Client.connect(made.control) as client:
            status = await client.status()
        assert status.computing is not None
        assert (status.computing.together > 0) is (most > 1)
        told_of = {model.together for model in status.models}
        assert all("8: " in text for text in told_of) if most > 1 else told_of == {""}
        shown = await asyncio.to_thread(CliRunner().invoke, status_verb, made.flags)
        assert f"{status.computing.together} made with others" in shown.output

    drive(tmp_path, story, **{"worker.sessions": 4, "worker.decision_ms": 20, "worker.together": most})


def test_what_cannot_be_a_batch_is_refused_before_it_is_a_job(tmp_path: Path) -> None:
    async def story(made: Car) -> None:
        with pytest.raises(DaemonRefused, match="scorer"):
            await made.submit(**batch(1))

    drive(tmp_path, story)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a batch as a job file has them."""
    return {"model": fields["model"], "batch": {"inputs": list(fields["batch"].inputs), "chunk": 10_000}}
