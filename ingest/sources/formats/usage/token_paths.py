"""Where each provider's API flavour keeps its counts: the tables of genai-prices, arranged for millions of bodies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from genai_prices import data_snapshot
from genai_prices.types import ArrayMatch, ClauseEquals, UsageExtractor


class NoUsage(ValueError):
    """The body holds no usage block of this flavour, or one with a mandatory count missing."""


@dataclass(slots=True)
class Paths:
    """Where one flavour's counts are. `listed` reads lists of {modality, tokenCount}."""

    root: tuple[str, ...]
    plain: list[tuple[str, str, bool]] = field(default_factory=list)
    nested: list[tuple[str, str, str]] = field(default_factory=list)
    listed: dict[str, tuple[str, dict[str, list[tuple[str, str]]]]] = field(default_factory=dict)

    def counts(self, body: Mapping[str, Any]) -> dict[str, int]:
        """The reported counts, summed where several feed one. Raises NoUsage."""
        block = self._block(body)
        found: dict[str, int] = {}
        for key, name, required in self.plain:
            value = block.get(key)
            if type(value) is int:
                found[name] = found.get(name, 0) + value
            elif value is not None or required:
                _odd(found, name, key, value, required)
        for outer, key, name in self.nested:
            inside = block.get(outer)
            if inside and isinstance(inside, dict) and type(value := inside.get(key)) is int:
                found[name] = found.get(name, 0) + value
        for outer, (told_by, leaves) in self.listed.items():
            if isinstance(items := block.get(outer), list):
                _add_listed(found, items, told_by, leaves)
        if not found:
            raise NoUsage(f"no counts at {'.'.join(self.root)}")
        return found

    def _block(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        block: Any = body
        for step in self.root:
            block = block.get(step) if isinstance(block, dict) else None
        if not isinstance(block, dict):
            raise NoUsage(f"no usage block at {'.'.join(self.root)}")
        return block


@lru_cache(maxsize=512)
def extractor(provider: str, api_flavor: str) -> UsageExtractor | None:
    """The library's table of a provider's flavour."""
    providers = data_snapshot.get_snapshot().providers
    known = data_snapshot.find_provider_by_id(providers, provider)
    return next(
        (found for found in (known.extractors if known else None) or () if found.api_flavor == api_flavor), None
    )


@lru_cache(maxsize=512)
def of(provider: str, api_flavor: str) -> Paths | None:
    """The paths of a provider's flavour, None when the library knows none."""
    table = extractor(provider, api_flavor)
    if table is None:
        return None
    paths = Paths((table.root,) if isinstance(table.root, str) else tuple(str(step) for step in table.root))
    for mapping in table.mappings:
        steps = [mapping.path] if isinstance(mapping.path, str) else list(mapping.path)
        if len(steps) == 1:
            paths.plain.append((str(steps[0]), mapping.dest, mapping.required))
        elif len(steps) == 2:
            paths.nested.append((str(steps[0]), str(steps[1]), mapping.dest))
        else:
            _list_path(paths, steps, mapping.dest)
    return paths


def _list_path(paths: Paths, steps: Sequence[str | ArrayMatch], name: str) -> None:
    outer, chosen, leaf = steps
    if not isinstance(chosen, ArrayMatch) or not isinstance(chosen.match, ClauseEquals):
        raise NotImplementedError(f"genai-prices reads {name} by {steps}, which is not known here")
    _, leaves = paths.listed.setdefault(str(outer), (chosen.field, {}))
    leaves.setdefault(chosen.match.equals, []).append((str(leaf), name))


def _add_listed(
    found: dict[str, int], items: list[Any], told_by: str, leaves: dict[str, list[tuple[str, str]]]
) -> None:
    """Adds the first item of each modality, as the library does."""
    seen = set()
    for item in items:
        told = item.get(told_by) if isinstance(item, dict) else None
        if told in seen or told not in leaves:
            continue
        seen.add(told)
        for leaf, name in leaves[told]:
            if type(value := item.get(leaf)) is int:
                found[name] = found.get(name, 0) + value


def _odd(found: dict[str, int], name: str, key: str, value: Any, required: bool) -> None:
    """A count that is not a plain integer: whole floats are taken, anything else is refused if it is mandatory."""
    if isinstance(value, float) and value.is_integer():
        found[name] = found.get(name, 0) + int(value)
    elif required or isinstance(value, float):
        raise NoUsage(f"{key}: expected a whole number, found {value!r}")
