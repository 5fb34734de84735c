"""The audit table."""

from django.db import models


class AuditEntry(models.Model):
    """Who did what to what, when. Rows are only ever added; the database refuses changes."""

    at = models.DateTimeField()
    actor = models.TextField()  # an e-mail address, a token's name, or ladder
    act = models.TextField()  # budget.approved, token.created, …
    subject = models.TextField()  # budget:12
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(db_default="", default="")

    class Meta:
        indexes = [models.Index(fields=["subject", "-at"], name="audit_subject")]
