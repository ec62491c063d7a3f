"""Versions of models, compared, and ranges of them: "reader@>=1.2,<2" is any reader from 1.2 on and before 2. Pure.

    range    =  rule ("," rule)*        all of them must hold
    rule     =  (">=" | "<=" | ">" | "<" | "!=" | "==") version

Parts between dots are compared as numbers where they are such, 1.10 is after 1.9, and 1.2 is 1.2.0; a text is before
any number. What is behind a "-" comes before the version itself (1.2-rc1 before 1.2), numbers there before texts, as in
semver.org, point 11: "<2-0" leaves out what comes before 2, too. What is behind a "+" does not count.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any

_RULES: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, "!=": operator.ne, "==": operator.eq, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_RULE = r"(?:>=|<=|!=|==|>|<)[0-9A-Za-z][0-9A-Za-z.+-]{0,31}"
RANGE = rf"{_RULE}(?:,{_RULE}){{0,3}}"
_is_range = re.compile(RANGE).fullmatch
_split = re.compile(r"(>=|<=|!=|==|>|<)(.*)").fullmatch
_Part = tuple[int, int, str]
_Key = tuple[tuple[_Part, ...], int, tuple[_Part, ...]]


def is_range(version: str) -> bool:
    """Returns whether this is a range, and not a version."""
    return _is_range(version) is not None


def fits(version: str, wanted: str) -> bool:
    """Returns whether `version` is in the range `wanted`."""
    return all(_holds(version, rule) for rule in wanted.split(","))


def newest(versions: Iterable[str], wanted: str) -> str:
    """Returns the newest of `versions` in the range `wanted`, "" if there is none."""
    return max((version for version in versions if fits(version, wanted)), key=_key, default="")


def _holds(version: str, rule: str) -> bool:
    found = _split(rule)
    return found is not None and _RULES[found[1]](_key(version), _key(found[2]))


def _key(version: str) -> _Key:
    release, dash, before = version.partition("+")[0].partition("-")
    parts = [_part(text) for text in release.split(".")]
    while len(parts) > 1 and parts[-1] == (1, 0, ""):
        parts.pop()
    return tuple(parts), 0 if dash else 1, tuple(_part(text, 0) for text in before.split("."))


def _part(text: str, number_at: int = 1) -> _Part:
    return (number_at, int(text), "") if text.isdecimal() else (1 - number_at, 0, text)
