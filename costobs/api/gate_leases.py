"""Leases of a gate process: what it used of its hard budgets, what it gives back, and what it may spend next."""

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from alerts import leases
from costobs.access.authentication import IsGate, TokenAuthentication, token
from costobs.api.errors import Bad


class Leases(APIView):
    """What a gate process may spend."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [IsGate]

    @extend_schema(request=OpenApiTypes.OBJECT, responses={200: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Takes what a process used and gives back, and answers what it may hold; repeats change nothing."""
        try:
            asked = leases.parse(request.data)
            found = leases.answer(source_id=token(request).source_id, asked=asked, now=timezone.now())
        except leases.BadReport as problem:
            raise Bad(str(problem)) from problem
        except leases.NotAGate as problem:
            raise PermissionDenied(str(problem)) from problem
        return Response(found, headers={"Cache-Control": "no-store"})
