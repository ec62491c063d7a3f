"""What a person asks for, as a list of goals: verbs begin clauses, quotes and odd words are names, the rest is grammar.

    'Enter "Ann" as the name, then press Send.'
      └ type value="Ann" label="name"        └ click names=("Send",)

It knows no page. What it does not understand it leaves out, and an instruction without a known verb has no goals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from runtime.agent.words import (
    BEFORE_A_VERB,
    EVERY,
    FILLERS,
    ITSELF,
    KINDS,
    NOTHING,
    ORDINALS,
    PARTICLES,
    TRAILERS,
    VERBS,
)

_TOKEN = re.compile(
    r"""["“](?P<quote>.*?)["”](?=[\s.,;:!?)]|$)|(?P<word>[^\s,;:"“”]+(?:[:.,/][^\s,;:"“”]+)*)|(?P<mark>[,;:])""",
    re.VERBOSE,
)
_SEPARATORS = frozenset({",", "and", ".", ";", "then"})
_CONDITION = re.compile(
    r"\bwhen the (\w+) (?:is|gets|falls|rises) (less|lower|below|under|cheaper|greater|more|higher|above|over)"
    r"(?: than)? \$?([\d,]+(?:\.\d+)?)",
    re.IGNORECASE,
)
_ORDERS = {"ascending": "ascending", "increasing": "ascending", "descending": "descending", "decreasing": "descending"}
_ORDINAL = re.compile(r"#?(\d+)(?:st|nd|rd|th)$", re.IGNORECASE)


@dataclass(frozen=True)
class Token:
    text: str
    quoted: bool = False

    @property
    def word(self) -> str:
        """The token as a word of grammar; "" for a quote."""
        return "" if self.quoted else self.text.lower()


@dataclass(frozen=True)
class Goal:
    """One thing to do.

    verb: click, select, type, focus, look, copy, paste, highlight, scroll, wait, solve, drag.
    names: what is to be clicked, one after the other. value: what is to be typed. label: what stands beside the field.
    kind: the kind of widget (the values of KINDS), ordinal: which of them (1 = first, -1 = last, 0 = not said).
    every: all of them. path: the names lead through menus (a > b > c). words: the clause, in lower case.
    source: where a value comes from that is not said: "value" (beside the label in names), "word" (the n-th, n in
    names), "sum", "complete" (of the suggestions the one that ends with names[0]); for clicks "ascending" or
    "descending" (all numbers, in that order). until: a condition to wait for, as (word, "less" or "more", number).
    """

    verb: str
    names: tuple[str, ...] = ()
    value: str = ""
    label: str = ""
    kind: str = ""
    ordinal: int = 0
    every: bool = False
    path: bool = False
    source: str = ""
    until: tuple[str, str, float] | None = None
    words: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def parse(instruction: str) -> tuple[Goal, ...]:
    """Returns the goals of an instruction, in the order in which they are to be done."""
    tokens = _tokens(instruction)
    goals: list[Goal] = []
    asked: Goal | None = None  # what an earlier clause says to find out
    for verb, clause, joint in _clauses(tokens):
        frame = _frame(verb, clause)
        if verb == "solve":
            asked = replace(frame, source="sum")
        elif "word" in frame.words and frame.ordinal:
            asked = replace(frame, source="word", names=(str(frame.ordinal),))
        for goal in _goals(verb, clause, joint):
            if goal.verb == "type" and not goal.value and not goal.source and asked is not None:
                if asked.kind == "area" and asked.ordinal < 0:
                    goals.append(Goal("scroll", kind="area", words=("bottom",)))
                goal = replace(goal, source=asked.source, names=asked.names)
            if goal.verb != "seek" or asked is None:
                goals.append(goal)
    return tuple(goals)


def _tokens(instruction: str) -> list[Token]:
    tokens: list[Token] = []
    for found in _TOKEN.finditer(instruction):
        if found.group("quote") is not None:
            tokens.append(Token(found.group("quote"), quoted=True))
            continue
        text = found.group("word") or found.group("mark")
        ending = text[-1] if len(text) > 1 and text[-1] in ".!?" else ""
        tokens.append(Token(text[:-1] if ending else text))
        if ending:
            tokens.append(Token("."))
    return tokens


def _clauses(tokens: list[Token]) -> list[tuple[str, list[Token], str]]:
    """Cuts the tokens at verbs; returns (what is done, tokens up to the next verb, the word that joins them to it)."""
    starts = []
    for place, token in enumerate(tokens):
        before = tokens[place - 1].word if place else "."
        verb = VERBS.get(_stem(token.word))
        if verb == "itself":
            verb = "click" if not place else None
        if verb and (before in BEFORE_A_VERB) and not (place and tokens[place - 1].quoted):
            starts.append((place, verb))
    clauses = []
    for number, (place, verb) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(tokens)
        clause = tokens[place + (tokens[place].word not in ITSELF) : end]
        joint = ""
        while clause and clause[-1].word in BEFORE_A_VERB:
            joint = joint or clause[-1].word
            clause = clause[:-1]
        clauses.append((verb, clause, joint))
    return clauses


def _stem(word: str) -> str:
    if word.endswith("ing") and word not in VERBS:
        stem = word[:-3]
        return stem if stem in VERBS else stem + "e"
    return word


def _goals(verb: str, clause: list[Token], joint: str) -> list[Goal]:
    until = _condition(clause)
    if until is not None:
        return [Goal("click", (clause[0].text,), until=until, words=tuple(token.word for token in clause))]
    if clause and clause[0].word in ITSELF:
        return []
    if joint == "by":  # "close it by clicking …": only the second says what to do
        return []
    base = _frame(verb, clause)
    order = next((_ORDERS[word] for word in base.words if word in _ORDERS), "")
    if verb == "click" and order and "numbers" in base.words:
        return [replace(base, names=(), source=order)]
    if verb == "type":
        return _typing(base, clause)
    if verb == "seek":
        proper = tuple(name for name in map(_proper, base.names) if name)
        return [replace(base, names=proper)] if proper or base.kind else []
    if verb == "look":
        through = joint == "to" or not {"between", "through"}.isdisjoint(base.words)
        return [replace(base, verb="seek" if through else "look", names=base.names or (base.kind,))]
    return [base]


def _proper(name: str) -> str:
    """Returns the words of a name that are written like names: with a capital or a digit, or a sign."""
    return " ".join(word for word in name.split() if word[0].isupper() or not word.isalpha())


def _frame(verb: str, clause: list[Token]) -> Goal:
    """Returns a goal with everything but what a type clause needs besides."""
    words = tuple(token.word for token in clause if token.word)
    kind = next((KINDS[word] for word in words if word in KINDS), "")
    if "text" in words and "area" in words:
        kind = "area"
    quotes = [token.text for token in clause if token.quoted]
    if (
        len(quotes) == 1
        and quotes[0].lower() in KINDS
        and any(word.startswith(("widget", "element")) for word in words)
    ):
        kind, quotes = KINDS[quotes[0].lower()], []
        return Goal(verb, kind=kind, words=words)
    ordinal = next((place for place in map(_ordinal, words) if place), 0)
    names = tuple(quotes) if quotes else _names(clause)
    path = any(">" in token.text.strip(">") for token in clause) or any(token.text == ">" for token in clause)
    return Goal(verb, names, "", "", kind, ordinal, any(word in EVERY for word in words), path, words=words)


def _names(clause: list[Token]) -> tuple[str, ...]:
    """Returns the unquoted names of a clause: what is left between commas when grammar and kinds are taken out."""
    for place, token in enumerate(clause):
        rest = [other.word for other in clause[place + 1 :]]
        trails = token.word == "as" or any(word in KINDS for word in rest)
        if place and token.word in TRAILERS and trails:
            clause = clause[:place]
            break
    names: list[str] = []
    words: list[str] = []
    ended = [*clause, Token(",")]
    for token, following in zip(ended, [*ended[1:], Token(",")], strict=True):
        if token.word in _SEPARATORS:
            if words:
                names.extend(part.strip() for part in " ".join(words).split(">") if part.strip())
            words = []
        elif token.text.startswith("#") and not words:
            words = [_noun_before(clause, token), token.text]
        elif _is_name(token) or (words and token.word in PARTICLES and following.word in _SEPARATORS):
            words.append(token.text)
    return tuple(name for name in (" ".join(name.split()) for name in names) if name)


def _is_name(token: Token) -> bool:
    """Whether a word is part of a name: not grammar, or grammar's word written with a capital ("New Zealand")."""
    if token.word in NOTHING or _ordinal(token.word):
        return False
    return not token.text.islower() or token.word not in FILLERS | set(KINDS) | EVERY


def _noun_before(clause: list[Token], token: Token) -> str:
    place = clause.index(token)
    return clause[place - 1].text if place else ""


def _typing(base: Goal, clause: list[Token]) -> list[Goal]:
    """Returns one goal for each value: quoted ones with the word before them as label, or else the words themselves."""
    quotes = [place for place, token in enumerate(clause) if token.quoted]
    after = clause[quotes[-1] + 1 :] if quotes else clause
    trailing = _label(after) if any(token.word in TRAILERS for token in after) else ""
    if "value of" in " ".join(base.words):
        return [replace(base, names=(_after_of(clause),), source="value")]
    if len(quotes) <= 2 and quotes and {"starts", "begins", "starting", "beginning"} & set(base.words):
        ending = clause[quotes[-1]].text if len(quotes) == 2 else ""
        return [replace(base, names=(ending,), value=clause[quotes[0]].text, source="complete")]
    if not quotes:
        return [replace(base, names=(), value=" ".join(base.names), label=trailing)]
    goals = []
    for place in quotes:
        before = clause[place - 1].word if place else ""
        label = before if before.isalpha() and before not in FILLERS and before not in KINDS else trailing
        goals.append(replace(base, names=(), value=clause[place].text, label=label))
    return goals


def _after_of(clause: list[Token]) -> str:
    """Returns the words between "of" and the next preposition: "the value of Last name into …" is "Last name"."""
    start = next(place for place, token in enumerate(clause) if token.word == "of") + 1
    stop = next((place for place in range(start, len(clause)) if clause[place].word in TRAILERS), len(clause))
    return " ".join(token.text for token in clause[start:stop])


def _condition(clause: list[Token]) -> tuple[str, str, float] | None:
    """Returns the condition of "… when the price is less than $57.60": what to read, "less" or "more", the number."""
    said = _CONDITION.search(" ".join(token.text for token in clause))
    if not said:
        return None
    side = "less" if said.group(2).lower() in ("less", "lower", "below", "under", "cheaper") else "more"
    return said.group(1), side, float(said.group(3).replace(",", ""))


def _label(tokens: list[Token]) -> str:
    """Returns the words after the last "into", "as", … that are neither grammar nor a kind of widget."""
    places = [place for place, token in enumerate(tokens) if token.word in TRAILERS]
    rest = tokens[places[-1] + 1 :] if places else []
    words = [token.text for token in rest if token.word.isalpha() and token.word not in FILLERS | EVERY | BEFORE_A_VERB]
    return " ".join(word for word in words if word.lower() not in KINDS)


def _ordinal(word: str) -> int:
    found = _ORDINAL.match(word)
    if found and not word.startswith("#"):
        return int(found.group(1))
    return ORDINALS.get(word, 0)
