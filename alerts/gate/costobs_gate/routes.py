"""Where a request can go when there is more than one place: the contract between the gate and the proxy.

In a model server there is one place and no routes.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple, Protocol

NEVER = sys.maxsize  # requests at once: a target that no number of them fills
FORWARD = "costobs.forward"  # in the ASGI scope: the Forward of a metered request
MODELS = "costobs.models"  # in the ASGI scope: the models that the key of another request may use (None: all)


class Target(NamedTuple):
    """One upstream and the name that the model has there (None: the one that was asked for)."""

    upstream: str = ""
    provider: str = ""
    deployment: str | None = None
    model: str | None = None
    takes_priority: bool = True  # vLLM does; a provider refuses fields that it does not know
    goes_by_path: bool = False  # Azure: the model in the path is the one that serves
    cap_field: str = "max_tokens"  # how a limit of output tokens is written where the client wrote none


class Forward(NamedTuple):
    """What the proxy needs beyond the request itself."""

    target: Target
    body: bytes
    model: str | None  # that serves; Azure has it in the path
    fallback: Callable[[str], "Forward | None"]  # asked with a reason when the upstream cannot serve it


class Routes(Protocol):
    """The upstreams of a proxy."""

    def target(self, model: str | None, upstream: str | None) -> Target | None:
        """Who serves a model; `upstream` when it is one of ours. None: nobody."""

    def overflow(self, target: Target) -> "tuple[int, Target] | None":
        """How many requests at once are too many for a target, and where the next one goes."""

    def is_ready(self) -> bool:
        """Whether any upstream can be reached."""


MIDDLEWARE = Target()
