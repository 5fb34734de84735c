"""What the Config of a kind asks for, field by field, and how typed text or stored JSON becomes its values."""

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import orjson

from ingest.sources.base import Source

Shape = Literal["text", "whole", "decimal", "yes", "choice", "lines", "pairs", "json"]
_WORDS = {
    "url": "URL",
    "id": "ID",
    "arn": "ARN",
    "api": "API",
    "gpu": "GPU",
    "pue": "PUE",
    "kwh": "kWh",
    "s3": "S3",
    "sas": "SAS",
    "json": "JSON",
}
_PATHS = {"url", "path", "paths", "file", "folder", "directory"}
_HOSTS = {"host", "hostname", "server", "endpoint"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Addresses whose host does not get to see the credentials: a request to a store is signed, not accompanied by its key.
_SIGNED = {"", "s3", "gs", "az"}


class BadConfig(ValueError):
    """The configuration does not fit the kind. `errors` says what is wrong by field; "" is the whole."""

    def __init__(self, errors: Mapping[str, str], kind: str = "") -> None:
        self.errors = dict(errors)
        text = "; ".join(f"{name}: {words}" if name else words for name, words in self.errors.items())
        super().__init__(f"{kind}: {text}" if kind else text)


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as a form shows it. `default` is a value as JSON holds it."""

    name: str
    label: str
    hint: str
    shape: Shape
    default: Any  # of the type that `shape` says
    choices: tuple[str, ...] = ()
    is_required: bool = False


def fields_of(kind: type[Source]) -> list[Field]:
    """The settings of a kind in their order, whether they say more than their type or not."""
    hints = get_type_hints(kind.Config)
    found = []
    for one in fields(kind.Config):
        shape, choices = _shape(hints[one.name])
        default = one.default if one.default is not MISSING else None
        if one.default_factory is not MISSING:
            default = one.default_factory()
        told = one.metadata
        if shape == "text" and told.get("choices"):
            shape, choices = "choice", tuple(told["choices"])
        found.append(
            Field(
                name=one.name,
                label=told.get("label") or label(one.name),
                hint=told.get("hint", ""),
                shape=shape,
                default=_plain(default),
                choices=choices,
                is_required=bool(told.get("required")) or (one.default is MISSING and one.default_factory is MISSING),
            )
        )
    return found


def label(name: str) -> str:
    """The name of a setting or a secret as a person reads it."""
    words = [_WORDS.get(word, word) for word in name.split("_")]
    return " ".join([words[0] if words[0] in _WORDS.values() else words[0].capitalize(), *words[1:]])


def parse(field: Field, text: str) -> Any:  # the JSON value of the field's shape
    """The value of a field from what a person typed. Raises ValueError with what was expected."""
    text = text.strip()
    if field.shape in {"text", "choice"}:
        return text
    if field.shape == "yes":
        return text.lower() in {"on", "true", "yes", "1"}
    if field.shape == "lines":
        return [line.strip() for line in text.splitlines() if line.strip()]
    if field.shape == "pairs":
        return dict(_pair(line) for line in text.splitlines() if line.strip())
    if not text:
        return field.default
    if field.shape == "json":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as problem:
            raise ValueError(f"expected JSON: {problem}") from None
    return _number(field, text)


def typed(field: Field, value: Any) -> str:
    """What a person would have typed for a stored value; `parse` is its inverse."""
    if value is None:
        return ""
    if field.shape == "lines":
        return "\n".join(map(str, value))
    if field.shape == "pairs":
        return "\n".join(f"{key} = {found}" for key, found in value.items())
    if field.shape == "json":
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    if field.shape == "yes":
        return "on" if value else ""
    return str(value)


def checked(kind: type[Source], config: Mapping[str, Any], *, is_complete: bool = False) -> dict[str, Any]:
    """`config` as it is stored, after every setting fits its type; with `is_complete` none that is required may be empty.

    Raises BadConfig with every mistake.
    """
    known = {field.name: field for field in fields_of(kind)}
    errors = {
        name: f"{kind.kind} has no setting {name!r}; known: {', '.join(sorted(known))}"
        for name in set(config) - set(known)
    }
    for name, value in config.items():
        if name in known and not _fits(known[name], value):
            errors[name] = f"expected {_expected(known[name])}, found {value!r}"[:300]
    if is_complete:
        empty = [
            one for one in known.values() if one.is_required and config.get(one.name, one.default) in (None, "", [], {})
        ]
        errors |= {one.name: "is needed" for one in empty if one.name not in errors}
    if errors:
        raise BadConfig(errors, kind.kind)
    stored = {name: _plain(value) for name, value in config.items()}
    try:
        made(kind, stored)
    except (TypeError, ValueError) as problem:
        named = next((name for name in known if str(problem).startswith(name)), "")
        raise BadConfig({named: str(problem)}, kind.kind) from problem
    return stored


def made(kind: type[Source], stored: Mapping[str, Any]) -> Any:  # each kind has a Config of its own
    """The Config of stored JSON; amounts, which JSON keeps as text, are Decimal again."""
    amounts = {field.name for field in fields_of(kind) if field.shape == "decimal"}
    return kind.Config(
        **{name: Decimal(value) if name in amounts and value is not None else value for name, value in stored.items()}
    )


def changed_only(kind: type[Source], config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is as the kind would have it anyway, so that a better default still reaches the source."""
    defaults = {field.name: field.default for field in fields_of(kind)}
    return {name: value for name, value in config.items() if name not in defaults or value != defaults[name]}


def outside(config: Mapping[str, Any], *, root: Path) -> dict[str, str]:
    """The settings that name a file of this machine which does not lie below `root`: name and value.

    A setting that is called a path or an address is one unless it begins with a scheme; any other text only when such a
    file exists, because a rule, a label and the name of a cloud resource may begin with a slash as well.
    """
    found = {}
    base = root.resolve()
    for name, value in config.items():
        for text in _texts(value):
            is_path = name in _PATHS or name.endswith(("_path", "_file", "_dir", "_url"))
            if _is_outside(text, base=base, is_path=is_path):
                found[name] = text
    return found


def hosts(config: Mapping[str, Any]) -> dict[str, str]:
    """The settings that say where credentials are sent, with the host."""
    found = {}
    for name, value in config.items():
        if name in _HOSTS and value:
            found[name] = str(value).lower()
        parts = urlsplit(value) if isinstance(value, str) and _SCHEME.match(value) else None
        if parts is not None and parts.scheme.lower() not in _SIGNED:
            found[name] = f"{parts.scheme}://{parts.netloc}".lower()
    return found


def without(text: str, secrets: Mapping[str, str]) -> str:
    """`text` without any of the secrets, whoever put them there."""
    for secret in sorted(secrets.values(), key=len, reverse=True):
        if len(secret) > 3:
            text = text.replace(secret, "•••")
    return text


def _shape(hint: Any) -> tuple[Shape, tuple[str, ...]]:
    if get_origin(hint) in {Union, types.UnionType}:
        rest = [part for part in get_args(hint) if part is not type(None)]
        return _shape(rest[0]) if len(rest) == 1 else ("json", ())
    simple: dict[Any, Shape] = {str: "text", bool: "yes", int: "whole", Decimal: "decimal"}
    if hint in simple:
        return simple[hint], ()
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal and all(isinstance(arg, str) for arg in args):
        return "choice", tuple(args)
    if isinstance(origin, type) and issubclass(origin, Mapping) and args == (str, str):
        return "pairs", ()
    if isinstance(origin, type) and issubclass(origin, Sequence) and args in {(str,), (str, ...)}:
        return "lines", ()
    return "json", ()


def _fits(field: Field, value: Any) -> bool:
    if value is None:
        return field.default is None
    if field.shape == "choice":
        return value in field.choices or value == field.default
    if field.shape == "lines":
        return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(one, str) for one in value)
    if field.shape == "pairs":
        return isinstance(value, Mapping) and all(isinstance(one, str) for pair in value.items() for one in pair)
    if field.shape == "decimal":
        return isinstance(value, Decimal) or (isinstance(value, str | int) and _is_amount(value))
    kinds: dict[str, type | tuple[type, ...]] = {"text": str, "yes": bool, "whole": int, "json": object}
    return isinstance(value, kinds[field.shape]) and not (field.shape == "whole" and isinstance(value, bool))


def _is_amount(value: str | int) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _expected(field: Field) -> str:
    words = {
        "text": "text",
        "whole": "a whole number",
        "decimal": "an amount such as 1.25, as text",
        "yes": "true or false",
        "lines": "a list of texts",
        "pairs": "pairs of text",
        "json": "JSON",
    }
    return words.get(field.shape) or f"one of {', '.join(field.choices)}"


def _pair(line: str) -> tuple[str, str]:
    key, sign, value = line.partition("=")
    if not sign or not key.strip():
        raise ValueError(f"expected one pair on each line, such as team = squad; found {line.strip()!r}")
    return key.strip(), value.strip()


def _number(field: Field, text: str) -> int | str:
    if field.shape == "whole":
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
            raise ValueError(f"expected a whole number, found {text!r}")
        return int(text)
    if not _is_amount(text):
        raise ValueError(f"expected an amount such as 1.25, found {text!r}")
    return text


def _plain(value: Any) -> Any:
    """As JSON holds it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    return value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for each in pair for text in _texts(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in _texts(each)]
    return []


def _is_outside(text: str, *, base: Path, is_path: bool) -> bool:
    text = text.strip()
    if not text or "\x00" in text:
        return bool(text)
    if _SCHEME.match(text) and not text.lower().startswith("file:"):
        return False
    path = Path(text.removeprefix("file://")).expanduser()
    try:
        below = path.resolve().is_relative_to(base)
        return not below and (is_path or (len(text) < 1000 and path.is_absolute() and path.exists()))
    except (OSError, RuntimeError, ValueError):  # too long for a name, a loop of links: nothing that may be read
        return is_path
