"""Which upstream serves which model."""

from collections.abc import Mapping, Sequence

from costobs_gate.proxy.upstreams import Upstream
from costobs_gate.routes import NEVER, Target


class Ways:
    """The routes of a proxy. What an upstream was not told to serve it is asked for (`learn`)."""

    def __init__(self, upstreams: Sequence[Upstream]) -> None:
        self.upstreams = {one.name: one for one in upstreams}
        self.models: dict[str, frozenset[str] | None] = {one.name: one.models for one in upstreams}
        self._targets = {one.name: _target(one, None) for one in upstreams}
        self._beyond = {one.name: _beyond(one, self.upstreams) for one in upstreams}
        self._away: set[str] = set()

    def target(self, model: str | None, upstream: str | None) -> Target | None:
        """A named upstream serves whatever it is sent; else the first that has the model, or may have it."""
        if upstream is not None and upstream in self.upstreams:
            return self._targets[upstream]
        if model is None or len(self.upstreams) == 1:
            return next(iter(self._targets.values()))
        known = [name for name, models in self.models.items() if models is not None and model in models]
        possible = known or [name for name, models in self.models.items() if models is None]
        return self._targets[possible[0]] if possible else None

    def overflow(self, target: Target) -> tuple[int, Target] | None:
        return self._beyond[target.upstream]

    def is_ready(self) -> bool:
        return len(self._away) < len(self.upstreams)

    def learn(self, name: str, models: frozenset[str] | None) -> None:
        """What an upstream says that it serves. None: it could not be reached, and the last answer stays."""
        if models is None:
            self._away.add(name)
            return
        self._away.discard(name)
        if self.upstreams[name].models is None:
            self.models[name] = models


def _beyond(upstream: Upstream, others: Mapping[str, Upstream]) -> tuple[int, Target] | None:
    way = upstream.overflow
    if way is None:
        return None
    return NEVER if way.at is None else way.at, _target(others[way.upstream], way.model)


def _target(upstream: Upstream, model: str | None) -> Target:
    return Target(
        upstream=upstream.name,
        provider=upstream.provider,
        deployment=upstream.deployment,
        model=model,
        goes_by_path=upstream.kind == "azure",
        takes_priority=upstream.kind == "vllm",
        cap_field="max_completion_tokens" if upstream.kind in ("openai", "azure") else "max_tokens",
    )
