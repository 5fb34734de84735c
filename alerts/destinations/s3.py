"""Statements into an S3 bucket."""

from collections.abc import Mapping
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from alerts.destinations.base import (
    BadConfig,
    Destination,
    Field,
    Parcel,
    PermanentFailure,
    TemporaryFailure,
    checked,
    endpoint,
    names,
)

_AGAIN = {"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "503"}


class S3(Destination):
    """Each file as one object, under the same key when it is sent again. Example configuration:

    {"bucket": "acme-finance", "prefix": "statements", "region": "eu-central-1"}

    The keys need s3:PutObject on the prefix; without keys this machine's own role is used.
    """

    kind: ClassVar = "s3"
    title: ClassVar = "Amazon S3"
    settings: ClassVar = (
        Field("bucket", "Bucket", is_needed=True),
        Field("prefix", "Folder", "Objects are called folder/2026-10/v1/statement-….pdf."),
        Field("region", "Region", "As eu-central-1."),
        Field("endpoint_url", "Endpoint", "Only for other stores that speak S3; it needs keys."),
    )
    secrets: ClassVar = (
        Field("access_key_id", "Access key id", "Leave empty to use this machine's role."),
        Field("secret_access_key", "Secret access key"),
    )

    def check(self, config: Mapping[str, Any], credentials: Mapping[str, str]) -> None:
        super().check(config, credentials)
        if bool(credentials.get("access_key_id")) != bool(credentials.get("secret_access_key")):
            raise BadConfig("secret_access_key", "give both parts of the key, or neither")
        if url := config.get("endpoint_url"):
            checked("endpoint_url", url)
            if not credentials.get("access_key_id"):
                # This machine's identity is shown to nobody but AWS.
                raise BadConfig("access_key_id", "an endpoint of your own needs keys")

    def send(self, parcel: Parcel, config: Mapping[str, Any], credentials: Mapping[str, str]) -> str:
        client = boto3.client(
            "s3",
            region_name=config.get("region") or None,
            endpoint_url=endpoint(config) or None,
            aws_access_key_id=credentials.get("access_key_id") or None,
            aws_secret_access_key=credentials.get("secret_access_key") or None,
            config=Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 2, "mode": "standard"}),
        )
        bucket = config["bucket"]
        try:
            for key, item in names(parcel, config.get("prefix", "")):
                client.put_object(Bucket=bucket, Key=key, Body=item.content, ContentType=item.media_type)
        except ClientError as problem:
            code = problem.response.get("Error", {}).get("Code", "")
            failure = f"S3 refused to write into {bucket}: {code}; grant s3:PutObject on the prefix"
            raise (TemporaryFailure if code in _AGAIN else PermanentFailure)(failure) from None
        except BotoCoreError as problem:
            raise TemporaryFailure(f"S3 bucket {bucket} cannot be reached ({type(problem).__name__})") from None
        return f"{len(parcel.items)} objects in s3://{bucket}/{names(parcel, config.get('prefix', ''))[0][0].rpartition('/')[0]}"
