"""Values of a dimension as options of a list, for the boxes in which somebody types one."""

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join

from costobs.kernel import fmt
from costobs.web import filters
from costobs.web.page import page as page_view


@page_view
def listing(request: HttpRequest) -> HttpResponse:
    """`?dim=team&q=sea`: the first 50 values by spend in the scope of the address, as `<option>` elements."""
    asked = filters.read(request)
    found = filters.known_values(
        scope=asked.scope,
        dimension=request.GET.get("dim", asked.group),
        search=request.GET.get("q", "").strip(),
    )
    options = format_html_join(
        "\n",
        '<option value="{}">{}</option>',
        ((value, fmt.money(cost, asked.scope.currency)) for value, cost in found if value),
    )
    return HttpResponse(options, content_type="text/html; charset=utf-8")
