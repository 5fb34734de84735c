"""Questions to BigQuery: what a dataset holds, what a table looks like, and the answers to queries page by page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ingest.sources.formats.gcp import gcp_export
from ingest.sources.stores import google_login

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

_PAGE = 20_000
_TIMEOUT = 60.0
_JOB_SECONDS = 600.0
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where an export is and where queries about it run."""

    project: str
    dataset: str
    job_project: str = ""
    endpoint_url: str = ""
    maximum_bytes_billed: int = 0

    @property
    def payer(self) -> str:
        """The project whose quota and money queries use."""
        return self.job_project or self.project


class Warehouse:
    """BigQuery as one source sees it. Every failure is SourceUnavailable with the role to grant, and without a secret."""

    def __init__(self, place: Place, credentials: Mapping[str, str]) -> None:
        gcp_export.named(project=place.project, dataset=place.dataset, job_project=place.payer)
        if place.endpoint_url:
            google_login.checked(place.endpoint_url)
        self.place, self._credentials = place, credentials
        self._made: Client | None = None
        self._see = f"grant roles/bigquery.dataViewer on the dataset {place.dataset}"
        self._ask = f"{self._see} and roles/bigquery.jobUser on the project {place.payer}"

    def tables(self) -> list[str]:
        """The names of the dataset's tables and views."""
        hints = {
            "401": self._see,
            "403": self._see,
            "404": "check the project and the dataset, and that the billing export to BigQuery is enabled",
        }
        with google_login.told(f"list the dataset {self.place.dataset}", hints):
            listed = self._client().list_tables(
                f"{self.place.project}.{self.place.dataset}", retry=self._retry(), timeout=_TIMEOUT
            )
            return [str(each.table_id) for each in listed]

    def export(self, table: str) -> gcp_export.Export:
        """The description of a table. It costs nothing: no query is made."""
        gcp_export.named(table=table)
        hints = {"401": self._see, "403": self._see, "404": "check the table's name"}
        with google_login.told(f"describe the table {table}", hints):
            found = self._client().get_table(
                f"{self.place.project}.{self.place.dataset}.{table}", retry=self._retry(), timeout=_TIMEOUT
            )
        return gcp_export.described(found)

    def ask(self, sql: str, **parameters: str | int | datetime) -> Iterator[pa.RecordBatch]:
        """The answer to a query, page after page: a month of rows is never held at once."""
        from google.cloud import bigquery
        from google.cloud.bigquery.retry import DEFAULT_JOB_RETRY

        kinds = {str: "STRING", int: "INT64", datetime: "TIMESTAMP"}
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, kinds[type(value)], value) for name, value in parameters.items()
            ],
            labels={"application": "costobs"},
        )
        if self.place.maximum_bytes_billed:
            config.maximum_bytes_billed = self.place.maximum_bytes_billed
        hints = {
            "401": self._ask,
            "403": self._ask,
            "bytesBilledLimitExceeded": "raise maximum_bytes_billed",
            "404": "check the project, dataset and table",
        }
        with google_login.told("run a query", hints):
            job = self._client().query(
                sql,
                job_config=config,
                retry=self._retry(),
                timeout=_TIMEOUT,
                job_retry=DEFAULT_JOB_RETRY.with_timeout(_RETRY_SECONDS),
            )
            rows = job.result(page_size=_PAGE, retry=self._retry(), timeout=_JOB_SECONDS)
            yield from rows.to_arrow_iterable()

    def _client(self) -> "Client":
        if self._made is None:
            from google.cloud import bigquery

            place = self.place
            made = bigquery.Client(
                project=place.payer,
                credentials=google_login.credentials(self._credentials, endpoint_url=place.endpoint_url),
                client_options={"api_endpoint": place.endpoint_url} if place.endpoint_url else None,
            )
            google_login.stay(made._http)
            self._made = made
        return self._made

    def _retry(self) -> Any:  # google.api_core's Retry, which the client wants
        from google.cloud.bigquery.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(_RETRY_SECONDS).with_delay(initial=0.5)
