"""The same instruction in other words, or in none that make sense: what an agent's success owes to reading it.

    plain         as the page says it
    paraphrased   one of the twenty templates of its family (paraphrases.toml), or another frame where it is of none,
                  and other verbs later on; what stands in quotes and what names things is kept
    shuffled      the words in random order: an agent that does as well as before does not read

Chance is the episode's seed, so that a run can be repeated.
"""

from __future__ import annotations

import random
import re
import sys
from functools import lru_cache
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORDINGS = ("plain", "paraphrased", "shuffled")
FRAMES = (
    "{0}",
    "Please {1}",
    "{0} Thank you.",
    "Could you {1}",
    "I want you to {1}",
    "Your task: {1}",
    "What I need is this: {1}",
    "Now {1}",
    "Go ahead and {1}",
    "Be so kind and {1}",
    "Next, {1}",
    "Kindly {1}",
    "Here is what to do: {1}",
    "I would like you to {1}",
    "The job is to {1}",
    "You have to {1}",
    "It is time to {1}",
    "Make sure to {1}",
    "Do this for me: {1}",
    "Let us {1}",
)
# A verb and what may stand for it. Only words that command: names of things on the page stay as they are.
VERBS = {
    "click on": ("press on", "tap", "hit"),
    "click": ("press", "tap", "hit"),
    "press": ("click", "push", "hit"),
    "hit": ("press", "click"),
    "select": ("choose", "pick"),
    "choose": ("select", "pick"),
    "enter": ("type", "write", "fill in"),
    "type": ("enter", "write"),
    "find": ("locate", "look for", "search for"),
    "drag": ("move", "pull"),
    "expand": ("open", "unfold"),
    "check": ("tick", "mark"),
    "buy": ("purchase", "get"),
    "book": ("reserve", "order"),
    "order": ("buy", "request"),
    "draw": ("paint", "make"),
    "create": ("make", "set up"),
    "copy": ("duplicate", "transfer"),
}
_QUOTED = re.compile(r'("[^"]*")')
_VERB = re.compile(r"\b(" + "|".join(sorted(VERBS, key=len, reverse=True)) + r")\b", re.IGNORECASE)


def worded(instruction: str, wording: str, seed: str) -> str:
    """Returns `instruction` in one of WORDINGS. Raises ValueError for another."""
    rng = random.Random(f"{wording}/{seed}")
    if wording == "plain":
        return instruction
    if wording == "shuffled":
        words = instruction.split()
        rng.shuffle(words)
        return " ".join(words)
    if wording == "paraphrased":
        return _paraphrased(instruction, rng)
    raise ValueError(f"{wording!r} is none of {', '.join(WORDINGS)}")


@lru_cache(maxsize=1)
def families() -> dict[str, dict[str, list[str]]]:
    """Returns {family: {"verbs": [...], "templates": [...]}}, the longest verbs of each first."""
    read: dict[str, dict[str, list[str]]] = tomllib.loads(
        (Path(__file__).parent / "paraphrases.toml").read_text(encoding="utf-8")
    )
    for family in read.values():
        family["verbs"].sort(key=len, reverse=True)
    return read


def family_of(instruction: str) -> tuple[str, str] | None:
    """Returns the family of the verb that begins an instruction, and that verb."""
    lowered = instruction.lower()
    found = [
        (name, verb)
        for name, family in families().items()
        for verb in family["verbs"]
        if lowered.startswith(f"{verb} ")
    ]
    return max(found, key=lambda one: len(one[1])) if found else None


def _paraphrased(instruction: str, rng: random.Random) -> str:
    """Changes later verbs outside of quotes, each with an even chance, and sets the whole into a template."""
    known = family_of(instruction)
    verb = instruction[: len(known[1])] if known else ""
    parts = _QUOTED.split(instruction[len(verb) :])

    def other(match: re.Match[str]) -> str:
        word, before = match.group(1), match.string[: match.start()].rstrip()
        begins = (not verb and match.start() == 0) or before.endswith((".", ","))
        if word[0].isupper() and not begins:
            return word  # a name on the page, such as a button called "Search"
        if rng.random() < 0.5:
            return word
        chosen = rng.choice(VERBS[word.lower()])
        return chosen.capitalize() if word[0].isupper() else chosen

    rest = "".join(part if number % 2 else _VERB.sub(other, part) for number, part in enumerate(parts))
    whole = verb + rest
    templates = families()[known[0]]["templates"] if known else FRAMES
    return rng.choice(templates).format(rest.lstrip() if known else whole, whole[:1].lower() + whole[1:])
