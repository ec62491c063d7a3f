"""Job files and flags: what is taken, and what each mistake is answered with."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from runtime.cli.job_page import job_page
from runtime.jobs.job_file import load_jobs, parse_jobs, spec_fields
from runtime.jobs.spec import PARTS, JobSpec, Limits, SpecError, Variant

MINIMAL = {"desktop": "unix:/run/d", "instruction": "press OK"}
FULL = """
desktop = "tls://10.0.0.7:7461"
instruction = "Send the report to Ann."
agent = "block_clicker"
model = "nav@1.2.0"
priority = 5
deadline_s = 3600
idempotency_key = "report"
token = "secret"
[limits]
max_actions = 200
max_s = 60
[labels]
customer = "acme"
"""


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(FULL)
    (spec,) = load_jobs(path)
    assert spec == JobSpec(
        desktop="tls://10.0.0.7:7461",
        instruction="Send the report to Ann.",
        agent="block_clicker",
        model="nav@1.2.0",
        priority=5,
        deadline_s=3600.0,
        idempotency_key="report",
        token="secret",
        limits=Limits(max_actions=200, max_s=60.0),
        labels={"customer": "acme"},
    )
    assert JobSpec.decode(spec.encode()) == spec


def test_flags_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(FULL)
    (spec,) = load_jobs(path, {"priority": -3, "limits.max_actions": 9, "labels.site": "b"})
    assert (spec.priority, spec.limits) == (-3, Limits(9, 60.0))
    assert spec.labels == {"customer": "acme", "site": "b"}


def test_flags_alone() -> None:
    (spec,) = parse_jobs({}, where="flags", overrides=MINIMAL)
    assert spec.limits == Limits()


def test_a_task_list_is_a_job_each() -> None:
    tree = {"desktop": "unix:/d", "tasks": ["a", "b"], "priority": 3}
    assert [(spec.instruction, spec.priority, spec.idempotency_key) for spec in parse_jobs(tree, where="f")] == [
        ("a", 3, ""),
        ("b", 3, ""),
    ]
    keyed = parse_jobs({**tree, "idempotency_key": "k"}, where="f")
    assert [spec.idempotency_key for spec in keyed] == ["k#1", "k#2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prioritty": 1}, "prioritty is not a field of a job; did you mean priority?"),
        ({"zzz": 1}, "zzz is not a field of a job; there are: desktop"),
        ({"limits": {"max_action": 1}}, "limits.max_action is not a field of a job; did you mean max_actions?"),
        ({"limits": {"max_s": 0}}, "limits.max_s must be a number from 1 to 86400, got 0"),
        ({"limits": {"max_s": float("nan")}}, "limits.max_s must be a number from 1 to 86400, got nan"),
        ({"limits": 7}, "limits must be a table, got 7"),
        ({"priority": 101}, "priority must be an integer from -100 to 100, got 101"),
        ({"priority": "high"}, "priority must be an integer from -100 to 100, got 'high'"),
        ({"priority": True}, "priority must be an integer from -100 to 100, got True"),
        ({"deadline_s": float("inf")}, "deadline_s must be a number from 0.001 to 31536000, got inf"),
        (
            {"desktop": "http://x"},
            "desktop must be unix:/path, tls://host:port or relay://host:port/TOKEN, got 'http://x'",
        ),
        (
            {"desktop": "tls://host"},
            "desktop must be unix:/path, tls://host:port or relay://host:port/TOKEN, got 'tls://host'",
        ),
        ({"instruction": ""}, "instruction is empty, expected a text of 0 to 8192 characters"),
        ({"model": "../../etc"}, "model must be a bundle: name, name@version or name@>=1.2,<2, got '../../etc'"),
        ({"agent": "os.system"}, None),
        ({"agent": "a b"}, "agent must be an agent's kind, such as block_clicker, got 'a b'"),
        ({"labels": {"a": 1}}, "labels must be a table of texts, got {'a': 1}"),
        ({"version": 5}, "version must be an integer from 1 to 4, got 5"),
        ({"needs": {"regoin": "eu"}}, "needs.regoin is not a field of a job; did you mean region?"),
        (
            {"needs": {"region": "EU west"}},
            "needs.region must be a region of the fleet, such as eu-west, got 'EU west'",
        ),
        ({"needs": {"plugged_in": 1}}, "needs.plugged_in must be true or false, got 1"),
        ({"tasks": ["x"]}, "there are both `instruction` and `tasks`"),
        ({"instruction": "x" * 9000}, "instruction must be a text of 0 to 8192 characters, got 'xxx"),
    ],
)
def test_mistakes_are_told(change: dict[str, Any], said: str | None) -> None:
    if said is None:
        parse_jobs({**MINIMAL, **change}, where="job.toml")
        return
    with pytest.raises(SpecError) as caught:
        parse_jobs({**MINIMAL, **change}, where="job.toml")
    assert caught.value.message.startswith(f"job.toml: {said}")
    assert len(str(caught.value)) < 400
    assert "no job was made" in str(caught.value)


@pytest.mark.parametrize("field", MINIMAL)
def test_a_field_left_out(field: str) -> None:
    with pytest.raises(SpecError, match=f"f: {field} is missing, expected "):
        parse_jobs({name: value for name, value in MINIMAL.items() if name != field}, where="f")


@pytest.mark.parametrize("tasks", [[], "one", [1], [["a"]], 7])
def test_task_lists_that_are_none(tasks: object) -> None:
    with pytest.raises(SpecError, match="tasks must be a list"):
        parse_jobs({"desktop": "unix:/d", "tasks": tasks}, where="f")


def test_a_bad_task_is_named() -> None:
    with pytest.raises(SpecError, match=r"tasks\[1\]: instruction is empty"):
        parse_jobs({"desktop": "unix:/d", "tasks": ["a", ""]}, where="f")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no job file"):
        load_jobs(tmp_path / "absent.toml")
    with pytest.raises(SpecError, match="cannot be read"):
        load_jobs(tmp_path)
    for content, said in [
        (b"desktop = ", "is not TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"#" * (2 << 20), "bytes, this is no job file"),
        (b"a = " + b"[" * 100_000, "is not TOML"),
    ]:
        (tmp_path / "job.toml").write_bytes(content)
        with pytest.raises(SpecError, match=said):
            load_jobs(tmp_path / "job.toml")


def test_a_spec_in_a_log_shows_no_secret() -> None:
    (spec,) = parse_jobs({**MINIMAL, "token": "hunter2"}, where="f")
    assert "hunter2" not in repr(spec)
    assert "press OK" not in repr(spec)


def test_every_field_is_in_the_table_with_words() -> None:
    names = [name for name, expected, text in spec_fields() if expected and text]
    assert len(names) == len(spec_fields())
    assert set(JobSpec.__struct_fields__) - set(PARTS) <= set(names)


@given(data=st.binary(max_size=200))
def test_garbage_is_no_spec(data: bytes) -> None:
    with pytest.raises(SpecError):
        JobSpec.decode(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*JobSpec.__struct_fields__, "tasks", "limits"]) | st.text(max_size=5)


@given(tree=st.dictionaries(fields, json_values, max_size=6), with_base=st.booleans())
def test_any_tree_is_taken_or_refused_clearly(tree: dict[str, Any], with_base: bool) -> None:
    try:
        specs = parse_jobs({**MINIMAL, **tree} if with_base else tree, where="f")
    except SpecError:
        return
    assert all(JobSpec.decode(spec.encode()) == spec for spec in specs)


def test_a_later_version_is_refused() -> None:
    (spec,) = parse_jobs(MINIMAL, where="f")
    with pytest.raises(SpecError, match="version 4"):
        JobSpec.decode(msgspec.msgpack.encode({**msgspec.to_builtins(spec), "mood": "sunny"}))


def test_twenty_variants_get_their_shares() -> None:
    split = tuple(Variant(model=f"net-{number}@1", share=1 + number % 4) for number in range(20))
    spec = JobSpec(desktop="unix:/d", instruction="x", variants=split)
    names = [f"job-{number}" for number in range(20_000)]
    counts = Counter(spec.assigned(name).model for name in names)
    whole = sum(variant.share for variant in split)
    for variant in split:
        assert abs(counts[variant.model] / len(names) - variant.share / whole) < 0.006
    again = JobSpec.decode(spec.encode())
    assert [again.assigned(name).model for name in names[:100]] == [spec.assigned(name).model for name in names[:100]]
    assert JobSpec(desktop="unix:/d", instruction="x", model="own", variants=split).assigned("a").model == "own"


def test_the_page_of_a_job_is_the_code() -> None:
    kept = (Path(__file__).resolve().parents[2] / "docs" / "JOBS.md").read_text()
    assert kept == job_page(), "run: idlehands doctor --jobs > docs/JOBS.md"
