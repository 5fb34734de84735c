"""Calls to Amazon Web Services: whose keys are used, and what a refusal means for a person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from alerts.hooks.base import BadConfig, Field, PermanentFailure, TemporaryFailure, checked, endpoint

SETTINGS = (
    Field("region", "Region", "As eu-central-1.", is_needed=True),
    Field("endpoint_url", "Endpoint", "Only for another address than Amazon's; it needs keys."),
)
SECRETS = (
    Field("access_key_id", "Access key id", "Leave empty to use this machine's role."),
    Field("secret_access_key", "Secret access key"),
)
_AGAIN = frozenset(
    ("InternalError", "InternalFailure", "RequestLimitExceeded", "ServiceUnavailable", "Throttling",
     "ThrottlingException", "Unavailable", "ResourceContention", "ScalingActivityInProgress")
)  # fmt: skip
_NO_KEYS = frozenset(("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"))
_NOT_ALLOWED = frozenset(("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"))


def check(config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
    """Raises BadConfig."""
    if bool(credentials.get("access_key_id")) != bool(credentials.get("secret_access_key")):
        raise BadConfig("secret_access_key", "give both parts of the key, or neither")
    if url := config.get("endpoint_url"):
        checked("endpoint_url", url)
        if not credentials.get("access_key_id"):
            # This machine's identity is shown to nobody but AWS.
            raise BadConfig("access_key_id", "an endpoint of your own needs keys")


def client(service: str, config: Mapping[str, Any], credentials: Mapping[str, str]) -> Any:  # boto3 ships no types
    """A client with short patience. Raises PermanentFailure for an address that must not be called."""
    return boto3.client(
        service,
        region_name=config["region"],
        endpoint_url=endpoint(config) or None,
        aws_access_key_id=credentials.get("access_key_id") or None,
        aws_secret_access_key=credentials.get("secret_access_key") or None,
        config=Config(connect_timeout=5, read_timeout=20, retries={"max_attempts": 2, "mode": "standard"}),
    )


@contextmanager
def told(what: str, *, grant: str) -> Iterator[None]:
    """Turns what boto raises into a failure that says what to do; `grant` are the permissions that `what` needs."""
    try:
        yield
    except ClientError as problem:
        error = problem.response.get("Error", {})
        code, status = str(error.get("Code", "")), problem.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _AGAIN or status >= 500:
            raise TemporaryFailure(f"AWS could not {what} now ({code})") from None
        if code in _NOT_ALLOWED:
            raise PermanentFailure(f"AWS does not allow to {what}; grant {grant}") from None
        if code in _NO_KEYS:
            raise PermanentFailure(f"AWS does not take the keys to {what} ({code}); give new ones") from None
        raise PermanentFailure(f"AWS refused to {what}: {code}: {str(error.get('Message', ''))[:300]}") from None
    except BotoCoreError as problem:
        raise TemporaryFailure(f"AWS cannot be reached to {what} ({type(problem).__name__})") from None


def code_of(problem: ClientError) -> str:
    """The code of a refusal."""
    return str(problem.response.get("Error", {}).get("Code", ""))


def listed(text: Any) -> list[str]:
    """Names in a setting, separated by commas or spaces; each once, in their order."""
    return list(dict.fromkeys(str(text or "").replace(",", " ").split()))
