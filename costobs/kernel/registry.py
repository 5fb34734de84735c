"""An explicit list of kinds, looked up by name."""

from collections.abc import Iterable, Iterator


class UnknownKind(LookupError):
    """No kind of that name is registered."""


class Registry[K]:
    """Kinds by their `kind` attribute; two of one name are an error at import time."""

    def __init__(self, what: str, kinds: Iterable[type[K]]) -> None:
        self._what = what
        self._kinds: dict[str, type[K]] = {}
        for kind in kinds:
            name = kind.kind  # type: ignore[attr-defined]  # every kind has one; Protocol classes cannot say so here
            if name in self._kinds:
                raise ValueError(f"two kinds of {what} are called {name!r}")
            self._kinds[name] = kind

    def __getitem__(self, name: str) -> type[K]:
        try:
            return self._kinds[name]
        except KeyError:
            known = ", ".join(sorted(self._kinds))
            raise UnknownKind(f"no {self._what} of kind {name!r}; known: {known}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._kinds

    def __iter__(self) -> Iterator[type[K]]:
        return iter(self._kinds.values())

    def names(self) -> list[str]:
        return list(self._kinds)
