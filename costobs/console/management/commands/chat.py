"""costobs chat: hears the buttons of Slack apps, in a process of its own."""

import signal
from datetime import UTC, datetime
from threading import Event
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from alerts import chat
from costobs.access.chat import Desk


class Command(BaseCommand):
    help = "Hear the buttons of Slack apps until stopped; needed once, beside the worker: costobs chat"

    def handle(self, *args: Any, **options: Any) -> None:
        stop = Event()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        chat.serve(desk=Desk(), stop=stop, clock=lambda: datetime.now(UTC))
