"""Bearer tokens for the REST API."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions, permissions
from rest_framework.request import Request

from costobs.access import scopes, tokens
from costobs.access.models import ApiToken


class TokenUser(AnonymousUser):
    """A program: authenticated, but nobody's account."""

    @property
    def is_authenticated(self) -> bool:  # type: ignore[override]  # a token is authenticated
        return True


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer cobs_…`; `request.auth` is the ApiToken."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken] | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            return None
        token = tokens.find(text.strip(), now=timezone.now())
        if token is None:
            raise exceptions.AuthenticationFailed(
                "the token is unknown or was revoked; make one with: costobs token create"
            )
        return TokenUser(), token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it ships no types
    """How the schema describes the token."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "Made by: costobs token create NAME --grant read"}


def token(request: Request) -> ApiToken:
    """The token of a request that a grant below has let in."""
    if not isinstance(request.auth, ApiToken):
        raise exceptions.NotAuthenticated
    return request.auth


class _Granted(permissions.BasePermission):
    grant = ""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, ApiToken) and self.grant in request.auth.grants


class MayIngest(_Granted):
    """Programs that push rows; a gate's token may push its usage too."""

    message = "this token may not push rows; it needs the grant 'ingest'"

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, ApiToken) and bool({"ingest", "gate"} & set(request.auth.grants))


class MayReport(_Granted):
    """Programs that push anything. A gate, which stands on the machine of a model server, is none: it has its own usage to tell."""

    grant = "ingest"
    message = "this token may not push this; it needs the grant 'ingest'"


class IsGate(_Granted):
    """Gates that fetch their policy."""

    grant = "gate"
    message = "this token is no gate's; it needs the grant 'gate'"


class MayRead(permissions.BasePermission):
    """Signed-in people with a role and tokens with the grant `read`."""

    message = "you may not read: a token needs the grant 'read', a person needs a role"

    def has_permission(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, ApiToken):
            return "read" in request.auth.grants
        return scopes.viewer(request.user).role != "none"


class MayReadOrManageBudgets(MayRead):
    """Whoever may read, reads. Changing is for administrators and finance, and for tokens of all teams with the grant `budgets`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in permissions.SAFE_METHODS:
            return super().has_permission(request, view)
        self.message = "you may not change budgets: a token of all teams needs the grants 'read' and 'budgets'"
        if isinstance(request.auth, ApiToken):
            return {"read", "budgets"} <= set(request.auth.grants) and request.auth.teams is None
        return scopes.viewer(request.user).role in {"admin", "finance"}
