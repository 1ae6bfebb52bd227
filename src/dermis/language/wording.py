"""Sentences with slots, some of which may stay empty: ``"{Picture} of {diagnosis|a lesion}[ {site}]."``"""

import re
from collections.abc import Mapping

from dermis.registry import unknown

_SLOT = re.compile(r"\{(\w+)(?:\|([^{}]*))?\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


def check_wording(wording: str, slots: tuple[str, ...]) -> None:
    """Raise ValueError for a slot that is not among ``slots`` or for brackets that do not match."""
    for slot, _ in _SLOT.findall(wording):
        if slot.casefold() not in slots:
            raise unknown("slot of a wording", slot, slots)
    if set(_SLOT.sub("", _OPTIONAL.sub("", wording))) & set("[]{}"):
        raise ValueError(f"the brackets of the wording {wording!r} do not match.")


def fill(wording: str, values: Mapping[str, str | None]) -> str:
    """``wording`` with its slots filled.

    ``[...]`` disappears if a slot in it that has no ``|words`` is empty; an empty slot outside brackets gives its
    ``|words``, else nothing. A slot whose name begins with a capital gives a capital.
    """

    def slot(match: re.Match[str]) -> str:
        text = values.get(match[1].casefold()) or match[2] or ""
        return text[:1].upper() + text[1:] if match[1][0].isupper() else text

    def optional(match: re.Match[str]) -> str:
        empty = any(not (values.get(name.casefold()) or words) for name, words in _SLOT.findall(match[1]))
        return "" if empty else match[1]

    return " ".join(_SLOT.sub(slot, _OPTIONAL.sub(optional, wording)).split())
