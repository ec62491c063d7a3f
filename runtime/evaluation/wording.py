"""The same instruction in other words, or in none that make sense: what an agent's success owes to reading it.

    plain         as the page says it
    paraphrased   other verbs and another frame, of twenty; what stands in quotes and what names things is kept
    shuffled      the words in random order: an agent that does as well as before does not read

Chance is the episode's seed, so that a run can be repeated.
"""

from __future__ import annotations

import random
import re

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


def _paraphrased(instruction: str, rng: random.Random) -> str:
    """Changes commanding verbs outside of quotes, each with an even chance, and sets the whole into a frame."""
    parts = _QUOTED.split(instruction)

    def other(match: re.Match[str]) -> str:
        word = match.group(1)
        if word[0].isupper() and match.start() > 0 and not match.string[: match.start()].rstrip().endswith((".", ",")):
            return word  # a name on the page, such as a button called "Search"
        if rng.random() < 0.5:
            return word
        chosen = rng.choice(VERBS[word.lower()])
        return chosen.capitalize() if word[0].isupper() else chosen

    told = "".join(part if number % 2 else _VERB.sub(other, part) for number, part in enumerate(parts))
    return rng.choice(FRAMES).format(told, told[:1].lower() + told[1:])
