"""Settings, one hook: setting it up, looking at it, trying what a change would do, and giving changes back."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from alerts import resources
from alerts.hooks import RESOURCES
from alerts.hooks.base import Field, ResourceHook
from alerts.resource_lines import ResourceLine
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import hook_tables, source_words
from costobs.web.action_detail import Fact
from costobs.web.parts import Link
from costobs.web.settings_access import managing

_OWN = ("name", "scope", "drain_seconds", "kept_cost", "is_dedicated", "is_protected")


class HookForm(forms.Form):
    """What it is and whose; the settings and credentials of the kind follow."""

    name = forms.CharField(label="Name", required=False, max_length=100, help_text="Rungs name it as their target.")
    scope = forms.CharField(
        label="Whose calls it serves",
        required=False,
        max_length=5000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="A line for each dimension, such as `deployment: llama-70b`; several values separated by commas."
        " Its cost and its owner are read from the books by this.",
    )
    drain_seconds = forms.IntegerField(
        label="Longest wait for running requests, seconds",
        required=False,
        help_text="From when gates refuse new ones until it is scaled to 0; sooner when none is left.",
    )
    kept_cost = forms.CharField(
        label="Stays paid at 0, a day",
        required=False,
        max_length=30,
        help_text="Disks or licences that a stopped one still costs. Empty: nothing is known.",
    )
    is_dedicated = forms.BooleanField(
        label="Dedicated: one owner uses it, whatever the calls say",
        required=False,
        help_text="Without it, a budget scales it only when it owns most of its tokens of the last 7 days.",
    )
    is_protected = forms.BooleanField(
        label="Protected: no action touches it", required=False, help_text="For what must run, whatever it costs."
    )

    def __init__(self, *args: Any, kind: type[ResourceHook], stored: tuple[str, ...] = (), **given: Any) -> None:
        super().__init__(*args, **given)
        self.kind = kind
        for one in kind.settings:
            self.fields[f"config_{one.name}"] = _field(one, is_secret=False, is_set=False)
        for one in kind.secrets:
            self.fields[f"secret_{one.name}"] = _field(one, is_secret=True, is_set=one.name in stored)
        for field in self.fields.values():
            if not isinstance(field, forms.BooleanField):
                field.widget.attrs["class"] = "input"

    def clean_kept_cost(self) -> Decimal | None:
        text = str(self.cleaned_data["kept_cost"]).strip()
        if not text:
            return None
        try:
            return Decimal(text)
        except InvalidOperation:
            raise forms.ValidationError(f"expected an amount such as 12.50, found {text!r}") from None

    def clean_scope(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for line in str(self.cleaned_data["scope"]).splitlines():
            name, colon, values = line.partition(":")
            if not line.strip():
                continue
            if not colon:
                raise forms.ValidationError(f"expected a dimension, a colon and its values, found {line.strip()!r}")
            listed = [value.strip() for value in values.split(",") if value.strip()]
            found.setdefault(name.strip(), []).extend(listed)
        return found

    def draft(self) -> resources.Draft:
        """The hook as asked for; secrets that were left empty stay as they are."""
        data = self.cleaned_data
        config = {one.name: data[f"config_{one.name}"].strip() for one in self.kind.settings}
        secrets = {one.name: data[f"secret_{one.name}"].strip() for one in self.kind.secrets}
        seconds = data["drain_seconds"]
        return resources.Draft(
            name=data["name"],
            hook=self.kind.kind,
            config={name: value for name, value in config.items() if value},
            credentials={name: value for name, value in secrets.items() if value},
            scope=data["scope"],
            is_dedicated=data["is_dedicated"],
            is_protected=data["is_protected"],
            drain_seconds=60 if seconds is None else seconds,
            kept_cost=data["kept_cost"],
        )

    def tell(self, problem: resources.Invalid) -> None:
        """Puts each mistake beside its field."""
        for name, text in problem.errors.items():
            known = (name, f"config_{name}", f"secret_{name}")
            self.add_error(next((one for one in known if one in self.fields), None), text)


@require_http_methods(["GET", "POST"])
@managing
def new(request: HttpRequest) -> HttpResponse:
    """A new hook; `kind` chooses what it is."""
    kind = request.GET.get("kind", "")
    if kind not in RESOURCES:
        return _choose(request)
    if request.method == "GET":
        return _form_page(request, HookForm(kind=RESOURCES[kind], initial={"drain_seconds": 60}))
    form = HookForm(request.POST, kind=RESOURCES[kind])
    if form.is_valid():
        try:
            made = resources.create(draft=form.draft(), by=_who(request), now=timezone.now())
        except resources.Invalid as problem:
            form.tell(problem)
        else:
            messages.success(request, "The hook is set up. Look at it now: that shows whether it can be reached.")
            return redirect("settings_hook", made)
    return _form_page(request, form, status=400)


@require_http_methods(["GET", "POST"])
@managing
def page(request: HttpRequest, hook_id: int) -> HttpResponse:
    found = _found(hook_id)
    if request.method == "GET":
        return _form_page(request, _form_of(found), found)
    form = HookForm(request.POST, kind=RESOURCES[found.hook], stored=found.secrets)
    if form.is_valid():
        try:
            resources.update(resource_id=hook_id, draft=form.draft(), by=_who(request), now=timezone.now())
        except resources.Invalid as problem:
            form.tell(problem)
        except resources.Held as problem:
            form.add_error(None, str(problem))
        else:
            messages.success(request, "Changed. Look at it now: that shows whether it can be reached.")
            return redirect("settings_hook", hook_id)
    return _form_page(request, form, found, status=400)


@require_POST
@managing
def attempt(request: HttpRequest, hook_id: int) -> HttpResponse:
    """What going to so many units would do; nothing is changed."""
    found, text = _found(hook_id), request.POST.get("units", "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        messages.error(request, f"Expected a number of units such as 0, found {text[:20]!r}.")
        return redirect("settings_hook", hook_id)
    try:
        trial = resources.trial(resource_id=hook_id, to_units=int(text), now=timezone.now())
    except resources.NotReached as problem:
        messages.error(request, f"It cannot be tried: {problem}.")
        return redirect("settings_hook", hook_id)
    return _form_page(request, _form_of(found), _found(hook_id), trial=trial, units=text)


@require_POST
@managing
def decide(request: HttpRequest, hook_id: int, verb: str) -> HttpResponse:
    """Look now, or remove."""
    found, now = _found(hook_id), timezone.now()
    if verb == "look":
        try:
            messages.success(request, f"It says: {resources.look(resource_id=hook_id, now=now)}.")
        except resources.NotReached as problem:
            messages.error(request, f"It could not be looked at: {problem}.")
    elif verb == "remove":
        try:
            resources.remove(resource_id=hook_id, by=_who(request), now=now)
        except resources.Held as problem:
            messages.error(request, f"It stays: {problem}.")
        else:
            messages.success(request, f"{found.name} is removed. Rungs that target it fail until they are changed.")
            return redirect("settings_hooks")
    else:
        raise Http404
    return redirect("settings_hook", hook_id)


@require_POST
@managing
def undo(request: HttpRequest, change_id: int) -> HttpResponse:
    """Gives one change back."""
    try:
        done = resources.undo(change_id=change_id, by=_who(request), now=timezone.now())
    except resources.NotFound as problem:
        raise Http404 from problem
    if done:
        messages.success(request, "It is given back within seconds; what somebody changed since is left alone.")
    else:
        messages.error(request, "That change is over, or is being undone already.")
    return redirect("settings_hooks")


def _found(hook_id: int) -> ResourceLine:
    try:
        found = resources.resource(hook_id)
    except resources.NotFound as problem:
        raise Http404 from problem
    if found.hook not in RESOURCES:
        raise Http404
    return found


def _choose(request: HttpRequest) -> HttpResponse:
    context = {
        "page": "settings",
        "scope": None,
        "heading": "What may a budget scale or stop?",
        "kinds": [(kind.title, f"?kind={kind.kind}", _first_line(kind)) for kind in RESOURCES],
    }
    return render(request, "pages/settings_hook_new.html", context)


def _first_line(kind: type[ResourceHook]) -> str:
    text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    return text.partition(" Example configuration")[0]


def _form_of(found: ResourceLine) -> HookForm:
    lines = [f"{name}: {', '.join(values)}" for name, values in found.scope.items()]
    initial = {
        "name": found.name,
        "scope": "\n".join(lines),
        "drain_seconds": found.drain_seconds,
        "kept_cost": "" if found.kept_cost is None else f"{found.kept_cost:f}",
        "is_dedicated": found.is_dedicated,
        "is_protected": found.is_protected,
        **{f"config_{name}": value for name, value in found.config.items()},
    }
    return HookForm(kind=RESOURCES[found.hook], stored=found.secrets, initial=initial)


def _form_page(
    request: HttpRequest,
    form: HookForm,
    found: ResourceLine | None = None,
    *,
    trial: resources.Trial | None = None,
    units: str = "0",
    status: int = 200,
) -> HttpResponse:
    kind = form.kind
    context: dict[str, Any] = {
        "page": "settings",
        "scope": None,
        "heading": _heading(found) if found else f"New hook: {kind.title}",
        "sub": _first_line(kind),
        "form": form,
        "own_fields": [form[name] for name in _OWN],
        "kind_fields": [form[f"config_{one.name}"] for one in kind.settings],
        "secret_fields": [form[f"secret_{one.name}"] for one in kind.secrets],
        "manual": source_words.manual(kind),
        "currency": settings.COSTOBS_CURRENCY,
        "found": found,
        "units": units,
        "trial": _facts(trial) if trial else None,
    }
    if found is not None:
        recent = resources.recent(resource_id=found.id, limit=12)
        look = reverse("settings_hook_decide", args=[found.id, "look"])
        context |= {
            "actions": [Link("Look now", look, icon="refresh-cw", primary=True, post=True)],
            "changes": hook_tables.changes(recent, may_manage=True, with_name=False),
            "state": hook_tables.state(found),
            "remove_url": reverse("settings_hook_decide", args=[found.id, "remove"]),
        }
    return render(request, "pages/settings_hook.html", context, status=status)


def _heading(found: ResourceLine) -> str:
    if found.look_error:
        return f"{found.name} cannot be looked at"
    return f"{found.name}: {found.standing_words or 'not looked at yet'}"


def _facts(trial: resources.Trial) -> list[Fact]:
    """What a dry run found, for people."""
    saves = "not known" if trial.saves_cost is None else fmt.money(trial.saves_cost, trial.currency)
    users = ", ".join(f"{team or 'nobody'} {fmt.percent(percent / 100)}" for team, percent in trial.users[:5])
    shown = [Fact("Stands at", trial.standing_words), Fact("What would be done", trial.words)]
    if not trial.is_there:
        shown += [
            Fact("Lost by it", trial.loses or "nothing"),
            Fact("Saves a day", f"{saves}: {trial.saves_words}"),
            Fact("Resuming", trial.resume_words),
        ]
    shown.append(Fact("Tokens of the last 7 days", users or "none were logged for its scope"))
    if trial.refusal:
        shown.append(Fact("Actions", trial.refusal))
    return shown


def _field(one: Field, *, is_secret: bool, is_set: bool) -> forms.CharField:
    helped = f"{one.help} A value is stored; leave it empty to keep it.".strip() if is_set else one.help
    widget: forms.Widget = forms.TextInput()
    if one.is_long:
        widget = forms.Textarea(attrs={"rows": 4, "autocomplete": "off"})
    elif is_secret:
        widget = forms.PasswordInput(attrs={"autocomplete": "new-password"})
    if one.is_needed and not is_set:
        widget.attrs["required"] = True
    return forms.CharField(label=one.label, required=False, max_length=20_000, help_text=helped, widget=widget)


def _who(request: HttpRequest) -> str:
    return scopes.viewer(request.user).name
