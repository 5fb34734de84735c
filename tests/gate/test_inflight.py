"""What a gate says of the requests it is answering, so that nobody takes its server away under them."""

import threading

from tests.gate.conftest import Served
from tests.gate.costobs_server import CostobsServer


def test_it_says_how_many_requests_it_is_answering(gate: Served, costobs: CostobsServer) -> None:
    body = {"model": "small", "messages": [], "metadata": {"hold": True}}
    asking = threading.Thread(target=gate.post, kwargs={"json": body})
    asking.start()

    costobs.wait_for(lambda: "1" in costobs.inflight)
    gate.upstream.release.set()
    asking.join(30)
    with costobs.changed:
        costobs.inflight.clear()

    costobs.wait_for(lambda: "0" in costobs.inflight)
