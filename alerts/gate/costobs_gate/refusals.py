"""Why a request of a known key does not go on: what the client is told, and what the event and the metrics say."""

from dataclasses import dataclass

from costobs_gate import answers
from costobs_gate.asgi_types import Send
from costobs_gate.policy import Rule


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal. `reason` is a label of the metrics, `refused_by` the id of what refused, for the event."""

    status: int
    message: str
    kind: str
    code: str
    reason: str
    refused_by: str
    retry_after_seconds: int | None = None

    async def send(self, send: Send, request_id: str) -> None:
        """Tell the client, in the shape of OpenAI errors."""
        headers = [("x-request-id", request_id)]
        if self.retry_after_seconds is not None:
            headers.insert(0, ("retry-after", str(self.retry_after_seconds)))
        await answers.send_error(send, self.status, self.message, kind=self.kind, code=self.code, headers=headers)


def by_rule(rule: Rule, team: str, retry_after_seconds: int) -> Refusal:
    """429: a rule of the policy blocks the request, or its limit is used up."""
    return Refusal(
        429,
        rule.message or f"The budget of team '{team}' is used up.",
        kind="insufficient_quota",
        code="budget_exceeded",
        reason="rule",
        refused_by=rule.id,
        retry_after_seconds=retry_after_seconds,
    )


def model_not_allowed(model: str | None) -> Refusal:
    """403: the key has a list of models, and this is not one of them."""
    named = f"model {model[:100]!r}" if model else "a request that names no model"
    return Refusal(
        403,
        f"This key may not use {named}.",
        kind="permission_error",
        code="model_not_allowed",
        reason="model",
        refused_by="model_not_allowed",
    )


def background() -> Refusal:
    """403: the answer would come later, on another request that carries no usage for this one."""
    return Refusal(
        403,
        "Responses in the background cannot be metered; send the request without 'background'.",
        kind="permission_error",
        code="background_not_allowed",
        reason="background",
        refused_by="background_not_metered",
    )


def no_upstream(model: str | None) -> Refusal:
    """404: none of the upstreams serves this model."""
    return Refusal(
        404,
        f"No upstream of this gate serves the model {(model or '')[:100]!r}.",
        kind="invalid_request_error",
        code="model_not_found",
        reason="upstream",
        refused_by="no_upstream",
    )


def by_budget(budget: int, message: str, retry_after_seconds: int, *, away: bool = False) -> Refusal:
    """429: the lease of a hard budget does not cover the most that the request can cost, or there is none in force."""
    waiting = "This gate has no lease of a hard budget from costobs at the moment."
    return Refusal(
        429,
        waiting if away else message or "A hard budget is used up.",
        kind="insufficient_quota",
        code="budget_lease_missing" if away else "budget_exceeded",
        reason="lease",
        refused_by=f"budget-{budget}",
        retry_after_seconds=retry_after_seconds,
    )


def unbounded(why: str) -> Refusal:
    """400: under a hard budget only what has a bound is let through."""
    return Refusal(
        400,
        f"A hard budget covers this request, and what it may cost cannot be bounded: {why}.",
        kind="invalid_request_error",
        code="cost_not_bounded",
        reason="unbounded",
        refused_by="cost_not_bounded",
    )


def without_price(model: str | None) -> Refusal:
    """503: costobs knows no price, and unknown is not nothing."""
    return Refusal(
        503,
        f"A hard budget covers this request, and costobs knows no price of {(model or 'its model')[:100]!r} yet.",
        kind="service_unavailable",
        code="price_unknown",
        reason="price",
        refused_by="price_unknown",
        retry_after_seconds=30,
    )
