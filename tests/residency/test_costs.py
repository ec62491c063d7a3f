"""What decisions cost: ranked, bounded, kept from worker to worker, and never in the way."""

from __future__ import annotations

from pathlib import Path

from runtime.residency.costs import ENTRIES, KEPT, Costs


def test_the_cost_is_what_99_of_100_keep_to() -> None:
    costs = Costs(None)
    assert costs.cost("a/1") is None
    for number in range(200):
        costs.note("a/1", float(number), number * 10)
    assert costs.cost("a/1") == (197.0, 1970)
    costs.note("b/2", 7.0, 0)
    assert costs.cost("b/2") == (7.0, 0), "one decision is all that is known"


def test_old_decisions_and_old_entries_are_forgotten() -> None:
    costs = Costs(None)
    costs.note("slow once", 5000.0, 0)
    for _ in range(KEPT):
        costs.note("slow once", 1.0, 0)
    assert costs.cost("slow once") == (1.0, 0)
    for number in range(ENTRIES):
        costs.note(f"other/{number}", 1.0, 0)
    assert costs.cost("slow once") is None
    assert costs.cost("other/0") is not None


def test_it_is_kept_and_what_is_damaged_is_seen_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "costs.json"
    costs = Costs(path)
    costs.note("a/1", 12.5, 99)
    costs.save()
    assert Costs(path).cost("a/1") == (12.5, 99)
    path.write_bytes(path.read_bytes()[:-3])
    damaged = Costs(path)
    assert damaged.cost("a/1") is None
    damaged.save()
    assert Costs(path).cost("a/1") is None
