"""Model fields: money as a numeric without a limit, and encrypted text."""

from typing import Any

from django.db import models

from costobs.kernel import secrets


class MoneyField(models.DecimalField):  # type: ignore[type-arg]  # not subscriptable at run time
    """`numeric` without precision: a vendor's amount keeps every digit it came with."""

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """A plain DecimalField, so that migrations import nothing of ours."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.DecimalField", list(args), kwargs


class EncryptedField(models.BinaryField):  # type: ignore[type-arg]  # not subscriptable at run time
    """JSON encrypted at rest with the installation's Fernet key; never shown again."""

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.BinaryField", list(args), kwargs

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else secrets.seal(value)

    def from_db_value(self, value: Any, _expression: Any, _connection: Any) -> Any:
        return None if value is None else secrets.unseal(bytes(value))
