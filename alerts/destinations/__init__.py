"""Where statements can be delivered."""

from alerts.destinations.base import Destination
from alerts.destinations.blob import Blob
from alerts.destinations.email import Email
from alerts.destinations.gcs import Gcs
from alerts.destinations.s3 import S3
from alerts.destinations.webhook import Webhook
from costobs.kernel.registry import Registry

KINDS: Registry[Destination] = Registry("destination", [Email, S3, Gcs, Blob, Webhook])
