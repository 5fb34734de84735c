"""The policy of a gate: which keys exist and which limits hold, asked for every second."""

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import policy
from costobs.access.authentication import IsGate, TokenAuthentication, token

_PARAMETERS = [
    OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="The ETag of the policy that is held."),
    OpenApiParameter(
        "X-Costobs-Gate-Instance", str, OpenApiParameter.HEADER, description="Which process of the gate asks."
    ),
    OpenApiParameter(
        "X-Costobs-Gate-Report", str, OpenApiParameter.HEADER, description="How the process is, for people to see."
    ),
]


class Policy(APIView):
    """What a gate needs to know."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsGate]

    @extend_schema(parameters=_PARAMETERS, responses={200: OpenApiTypes.OBJECT, 304: None})
    def get(self, request: Request) -> HttpResponse | Response:
        """Keys as hashes, rules and leases; 304 when the gate holds this version already."""
        try:
            answer = policy.answer(
                source_id=token(request).source_id,
                if_none_match=request.headers.get("If-None-Match", ""),
                process=request.headers.get("X-Costobs-Gate-Instance", ""),
                report=request.headers.get("X-Costobs-Gate-Report", ""),
                now=timezone.now(),
            )
        except policy.NotAGate as problem:
            raise PermissionDenied(str(problem)) from problem
        headers = {"ETag": answer.etag, "Cache-Control": "no-cache"}
        if answer.body is None:
            return HttpResponse(status=304, headers=headers)
        return HttpResponse(answer.body, content_type="application/json", headers=headers)
