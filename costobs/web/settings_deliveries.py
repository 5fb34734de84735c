"""Settings, one delivery of statements: setting it up, testing it, pausing it, and what was sent."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from alerts import dispatch, schedules
from alerts.destinations import KINDS
from alerts.destinations.base import Destination, Field
from attribution import exports, issue
from costobs.access import scopes
from costobs.web import delivery_tables, filters
from costobs.web.parts import Link
from costobs.web.settings_access import managing


class ScheduleForm(forms.Form):
    """What, when and in which forms; the fields of the destination follow its kind."""

    name = forms.CharField(label="Name", max_length=100, required=False)
    trigger = forms.ChoiceField(label="When", choices=list(schedules.TRIGGERS.items()))
    day_of_month = forms.IntegerField(
        label="Day of the month", required=False, help_text="1 to 28, for the second choice."
    )
    cost = forms.ChoiceField(label="Cost", choices=[(name, filters.BASES[name]) for name in issue.COLUMNS])
    cost_centres = forms.CharField(
        label="Cost centres",
        required=False,
        max_length=20_000,
        help_text="Separated by commas, each gets files of its own. Empty: the whole statement.",
    )
    formats = forms.MultipleChoiceField(
        label="Files",
        required=False,
        choices=[(kind.kind, kind.title) for kind in exports.KINDS],
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, destination: type[Destination], stored: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.destination = destination
        for one in destination.settings:
            self.fields[f"config_{one.name}"] = _field(one, is_secret=False, is_set=False)
        for one in destination.secrets:
            self.fields[f"secret_{one.name}"] = _field(one, is_secret=True, is_set=one.name in stored)
        for name, field in self.fields.items():
            if name != "formats":
                field.widget.attrs["class"] = "input"

    def plan(self) -> schedules.Plan:
        """The schedule as asked for; secrets that were left empty stay as they are."""
        data = self.cleaned_data
        config: dict[str, Any] = {
            one.name: data[f"config_{one.name}"].strip()
            for one in self.destination.settings
            if data[f"config_{one.name}"].strip()
        }
        if self.destination.kind == "email" and "to" in config:
            config["to"] = [one.strip() for one in config["to"].split(",") if one.strip()]
        secrets = {
            one.name: data[f"secret_{one.name}"]
            for one in self.destination.secrets
            if data[f"secret_{one.name}"].strip()
        }
        return schedules.Plan(
            name=data["name"],
            trigger=data["trigger"],
            day_of_month=data["day_of_month"],
            cost_centres=[one.strip() for one in data["cost_centres"].split(",") if one.strip()],
            formats=data["formats"],
            cost=data["cost"],
            destination=self.destination.kind,
            config=config,
            credentials=secrets or None,
        )

    def tell(self, problem: schedules.Invalid) -> None:
        """Puts each mistake beside its field."""
        for name, text in problem.errors.items():
            known = (name, f"config_{name}", f"secret_{name}")
            self.add_error(next((one for one in known if one in self.fields), None), text)


@require_http_methods(["GET", "POST"])
@managing
def new(request: HttpRequest) -> HttpResponse:
    """A new delivery; `to` chooses the kind of destination."""
    kind = request.GET.get("to", "")
    if kind not in KINDS:
        return _choose(request)
    if request.method == "GET":
        initial = {"trigger": "closed", "formats": ["pdf", "xlsx"]}
        return _form_page(request, ScheduleForm(destination=KINDS[kind], initial=initial), "New delivery")
    form = ScheduleForm(request.POST, destination=KINDS[kind])
    if form.is_valid():
        try:
            schedule_id = schedules.create(plan=form.plan(), by=_who(request), now=timezone.now())
        except schedules.Invalid as problem:
            form.tell(problem)
        else:
            messages.success(request, "The delivery is set up. Test it now: a small file shows whether it arrives.")
            return redirect("statement_schedule", schedule_id)
    return _form_page(request, form, "New delivery", status=400)


@require_http_methods(["GET", "POST"])
@managing
def page(request: HttpRequest, schedule_id: int) -> HttpResponse:
    found = _found(schedule_id)
    kind = KINDS[found.destination]
    if request.method == "GET":
        form = ScheduleForm(destination=kind, stored=found.secrets, initial=_initial(found))
        return _form_page(request, form, found.name, found)
    form = ScheduleForm(request.POST, destination=kind, stored=found.secrets)
    if form.is_valid():
        try:
            schedules.update(schedule_id=schedule_id, plan=form.plan(), by=_who(request), now=timezone.now())
        except schedules.Invalid as problem:
            form.tell(problem)
        else:
            messages.success(request, "Changed. What was sent stays sent.")
            return redirect("statement_schedule", schedule_id)
    return _form_page(request, form, found.name, found, status=400)


@require_POST
@managing
def decide(request: HttpRequest, schedule_id: int, verb: str) -> HttpResponse:
    """Test, pause, resume, remove, or send a month again."""
    found, by, now = _found(schedule_id), _who(request), timezone.now()
    match verb:
        case "test":
            try:
                said = dispatch.test(schedule_id=schedule_id, now=now)
                messages.success(request, f"A small file arrived: {said}.")
            except dispatch.NotArrived as problem:
                messages.error(request, f"It did not arrive: {problem}.")
        case "pause" | "resume":
            schedules.pause(schedule_id=schedule_id, is_active=verb == "resume", by=by, now=now)
            messages.success(request, "It is paused." if verb == "pause" else "It goes on from now.")
        case "remove":
            schedules.remove(schedule_id=schedule_id, by=by, now=now)
            messages.success(request, f"{found.name} is removed.")
            return redirect("settings_chargeback")
        case "again":
            number = request.GET.get("dispatch", "")
            done = number.isascii() and number.isdigit() and len(number) < 18
            done = done and schedules.again(dispatch_id=int(number), schedule_id=schedule_id, by=by, now=now)
            if done:
                messages.success(request, "It is sent again within a minute, with the same key.")
            else:
                messages.error(request, "That month is on its way already, or there is none.")
        case _:
            raise Http404
    return redirect("statement_schedule", schedule_id)


def _found(schedule_id: int) -> schedules.ScheduleLine:
    try:
        return schedules.schedule(schedule_id)
    except schedules.NotFound as problem:
        raise Http404 from problem


def _choose(request: HttpRequest) -> HttpResponse:
    context = {
        "page": "settings",
        "scope": None,
        "heading": "Where should statements go?",
        "kinds": [(kind.title, f"?to={kind.kind}", _first_line(kind)) for kind in KINDS],
    }
    return render(request, "pages/settings_delivery_new.html", context)


def _first_line(kind: type[Destination]) -> str:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text.partition(" Example configuration")[0]


def _form_page(
    request: HttpRequest,
    form: ScheduleForm,
    heading: str,
    found: schedules.ScheduleLine | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    kind = form.destination
    context = {
        "page": "settings",
        "scope": None,
        "heading": heading,
        "sub": f"{kind.title}. {_first_line(kind)}",
        "form": form,
        "plan_fields": [form[name] for name in ("name", "trigger", "day_of_month", "cost", "cost_centres")],
        "place_fields": [form[f"config_{one.name}"] for one in kind.settings],
        "secret_fields": [form[f"secret_{one.name}"] for one in kind.secrets],
        "actions": _actions(found) if found else [],
        "months": delivery_tables.dispatches(found) if found else None,
        "remove_url": reverse("statement_schedule_decide", args=[found.id, "remove"]) if found else "",
        "is_active": found.is_active if found else True,
    }
    return render(request, "pages/settings_delivery.html", context, status=status)


def _actions(found: schedules.ScheduleLine) -> list[Link]:
    def act(verb: str) -> str:
        return reverse("statement_schedule_decide", args=[found.id, verb])

    switch = Link("Pause", act("pause"), icon="pause", post=True)
    if not found.is_active:
        switch = Link("Resume", act("resume"), icon="play", post=True)
    return [Link("Test", act("test"), icon="shield-check", primary=True, post=True), switch]


def _initial(found: schedules.ScheduleLine) -> dict[str, Any]:
    config = {**found.config}
    if found.destination == "email":
        config["to"] = ", ".join(config.get("to", []))
    return {
        "name": found.name,
        "trigger": found.trigger,
        "day_of_month": found.day_of_month,
        "cost": found.cost,
        "cost_centres": ", ".join(found.cost_centres),
        "formats": list(found.formats),
        **{f"config_{name}": value for name, value in config.items()},
    }


def _field(one: Field, *, is_secret: bool, is_set: bool) -> forms.CharField:
    helped = f"{one.help} A value is stored; leave it empty to keep it.".strip() if is_set else one.help
    widget: forms.Widget = forms.TextInput()
    if one.is_long:
        widget = forms.Textarea(attrs={"rows": 4, "autocomplete": "off"})
    elif is_secret:
        widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    return forms.CharField(label=one.label, required=False, max_length=20_000, help_text=helped, widget=widget)


def _who(request: HttpRequest) -> str:
    return scopes.viewer(request.user).name
