"""Settings, gates and keys: what enforces budgets, who may ask for what, and how to connect more."""

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from alerts import gate_keys, gates
from costobs.access import gates as whole_gates
from costobs.access import scopes
from costobs.kernel import fmt
from costobs.web import gate_forms, gate_tables
from costobs.web.gate_forms import GateForm, KeyForm, RemoveForm
from costobs.web.parts import Link
from costobs.web.settings_access import looking, managing


@require_safe
@looking
def page(request: HttpRequest) -> HttpResponse:
    now, may_manage = timezone.now(), scopes.viewer(request.user).may_manage
    places, keys = gate_keys.places(now=now), gate_keys.listed(with_revoked=True)
    actions = [
        Link("Make a key", reverse("settings_key_new"), icon="key-round"),
        Link("Add a gate", reverse("settings_gate_new"), icon="plus", primary=True),
    ]
    context = {
        "page": "settings",
        "scope": None,
        "heading": _heading(places, keys),
        "sub": f"As of {fmt.moment(now)}. A gate asks for its policy each second; what changes here holds within seconds.",
        "actions": actions if may_manage else [],
        "gates": gate_tables.gates(places, now, may_manage=may_manage),
        "keys": gate_tables.keys(keys, may_manage=may_manage),
        **_commands(request),
    }
    return render(request, "pages/settings_gates.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@managing
def gate_new(request: HttpRequest) -> HttpResponse:
    """A new gate; its token is in this one answer and nowhere else."""
    form = GateForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            text = whole_gates.create(**form.cleaned_data, by=_who(request), now=timezone.now())
        except whole_gates.Invalid as problem:
            form.add_error("name", str(problem))
        else:
            return _shown_once(request, f"{form.cleaned_data['name']} is added", "token", text)
    sub = "A gate stands before a model server or a provider. Its token is shown once, when it is added."
    return _form(request, "Add a gate", form, [*form], "Add", status=400 if form.errors else 200, sub=sub)


@require_http_methods(["GET", "POST"])
@managing
def gate_remove(request: HttpRequest, name: str) -> HttpResponse:
    """Take a gate out, once its name is typed. Its usage stays in the books, its token ends."""
    if all(place.name != name for place in gate_keys.places(now=timezone.now())):
        raise Http404
    form = RemoveForm(request.POST or None, gate=name)
    if request.method == "GET" or not form.is_valid():
        return _form(request, f"Remove {name}?", form, [*form], "Remove", status=400 if form.errors else 200)
    whole_gates.remove(name=name, by=_who(request), now=timezone.now())
    messages.success(request, f"{name} is removed, and its token has ended. What it metered stays in the books.")
    return redirect("settings_gates")


@never_cache
@require_http_methods(["GET", "POST"])
@managing
def key_new(request: HttpRequest) -> HttpResponse:
    """A new key; its text is in this one answer and nowhere else."""
    form = KeyForm(request.POST or None, is_new=True)
    if request.method == "POST" and form.is_valid():
        try:
            _key_id, text = gates.create_key(
                name=form.cleaned_data["name"],
                team=form.cleaned_data["team"],
                features=form.listed("features"),
                models=form.listed("models"),
                limits=form.limits(),
                by=_who(request),
                now=timezone.now(),
            )
        except gates.Invalid as problem:
            form.add_error("name", str(problem))
        else:
            return _shown_once(request, f"{form.cleaned_data['name']} has a key", "key", text)
    sub = "Its text is shown once, when it is made; only its hash is stored."
    return _form(
        request, "Make a key", form, form.what(), "Make it", bounds=form.bounds(), status=_status(form), sub=sub
    )


@never_cache
@require_http_methods(["GET", "POST"])
@managing
def key(request: HttpRequest, key_id: str) -> HttpResponse:
    """What one key may do."""
    found = _found(key_id)
    initial = gate_forms.initial(features=found.features, models=found.models, limits=found.limits)
    form = KeyForm(request.POST or None, is_new=False, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            gate_keys.change(
                key_id=key_id,
                features=form.listed("features"),
                models=form.listed("models"),
                limits=form.limits(),
                by=_who(request),
                now=timezone.now(),
            )
        except gate_keys.Invalid as problem:
            form.add_error(problem.field, str(problem))
        else:
            messages.success(request, f"{found.name} is changed; gates hold it within seconds.")
            return redirect("settings_gates")
    return _form(request, found.name, form, form.what(), "Save", bounds=form.bounds(), key=found, status=_status(form))


@never_cache
@require_POST
@managing
def key_decide(request: HttpRequest, key_id: str, verb: str) -> HttpResponse:
    """Replace the text of a key, or revoke it."""
    found, by, now = _found(key_id), _who(request), timezone.now()
    if verb == "rotate":
        text = gate_keys.rotate(key_id=key_id, by=by, now=now)
        if text is not None:
            return _shown_once(request, f"{found.name} has a new key; the old one ends within seconds", "key", text)
    elif verb == "revoke" and gates.revoke_key(key_id=key_id, by=by, now=now):
        messages.success(request, f"{found.name} is revoked; every gate refuses it within seconds.")
        return redirect("settings_gates")
    raise Http404


def _form(request: HttpRequest, heading: str, form: object, fields: object, act: str, **more: object) -> HttpResponse:
    status = more.pop("status", 200)
    context = {
        "page": "settings",
        "scope": None,
        "heading": heading,
        "sub": str(more.pop("sub", "")),
        "form": form,
        "fields": fields,
        "act": act,
        **more,
    }
    return render(request, "pages/settings_gate_form.html", context, status=int(str(status)))


def _shown_once(request: HttpRequest, heading: str, what: str, text: str) -> HttpResponse:
    context = {
        "page": "settings",
        "scope": None,
        "heading": heading,
        "sub": "",
        "what": what,
        "text": text,
        **_commands(request),
    }
    return render(request, "pages/settings_gate_shown.html", context)


def _commands(request: HttpRequest) -> dict[str, object]:
    """How to connect, with this costobs' own address."""
    address = getattr(settings, "COSTOBS_URL", "") or request.build_absolute_uri("/").rstrip("/")
    return {
        "address": address,
        "environment": f"export COSTOBS_URL={address}\nexport COSTOBS_GATE_TOKEN=…",
        "middleware": "pip install costobs-gate\nvllm serve MODEL --middleware costobs_gate.Gate",
        "proxy": (
            "pip install 'costobs-gate[proxy]'\n"
            "export COSTOBS_UPSTREAM_KEY_API=…\n"
            "costobs-gate serve --port 8080 \\\n"
            "  --upstream own=http://127.0.0.1:8000 \\\n"
            "  --upstream api=https://api.openai.com \\\n"
            "  --overflow own=api:gpt-4o-mini --overflow-at own=32"
        ),
        "client": (
            "curl http://GATE:8080/v1/chat/completions \\\n"
            "  -H 'Authorization: Bearer cok_…' -H 'Content-Type: application/json' \\\n"
            '  -d \'{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}\''
        ),
    }


def _heading(places: list[gate_keys.Place], keys: list[gate_keys.Key]) -> str:
    if not places:
        return "No gate enforces budgets yet"
    live = sum(bool(place.live) for place in places)
    in_force = sum(key.revoked_at is None for key in keys)
    gates_word, keys_word = "gate serves" if live == 1 else "gates serve", "key" if in_force == 1 else "keys"
    silent = f", {len(places) - live} silent" if live < len(places) else ""
    return f"{live} {gates_word}{silent}; {in_force} {keys_word} in force"


def _found(key_id: str) -> gate_keys.Key:
    found = gate_keys.key(key_id=key_id)
    if found is None or found.revoked_at is not None:
        raise Http404
    return found


def _status(form: KeyForm) -> int:
    return 400 if form.errors else 200


def _who(request: HttpRequest) -> str:
    return scopes.viewer(request.user).name
