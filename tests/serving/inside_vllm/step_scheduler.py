"""Runs inside vLLM (`--scheduler-cls step_scheduler.StepScheduler`): writes which request got how many tokens in each step.

Only on the path of a vLLM that is being recorded; it imports nothing of costobs.
"""

import json
import os
import time
from pathlib import Path

from vllm.v1.core.sched.scheduler import Scheduler


class StepScheduler(Scheduler):
    """One line for each engine step, when its result is in, and one for each request that ends, aborted or not."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._log = Path(os.environ["STEP_LOG"]).open("a", buffering=1)  # noqa: SIM115  # open as long as the engine is
        self._begun = {}

    def schedule(self, *args, **kwargs):
        wall, begun = time.time(), time.perf_counter()
        output = super().schedule(*args, **kwargs)
        if output.num_scheduled_tokens:
            shares = {}
            for name, tokens in output.num_scheduled_tokens.items():
                request = self.requests[name]
                # The scheduler has already counted these tokens as computed.
                left = max(0, request.num_prompt_tokens - (request.num_computed_tokens - tokens))
                context = min(tokens, left)
                shares[name] = [context, tokens - context]
            self._begun[id(output)] = (wall, begun, shares)
        return output

    def update_from_output(self, scheduler_output, model_runner_output, *args, **kwargs):
        result = super().update_from_output(scheduler_output, model_runner_output, *args, **kwargs)
        started = self._begun.pop(id(scheduler_output), None)
        if started is not None:
            wall, begun, shares = started
            took = round((time.perf_counter() - begun) * 1000, 3)
            self._write({"at": round(wall, 6), "ms": took, "tokens": shares})
        return result

    def _free_request(self, request, *args, **kwargs):
        self._write(
            {
                "request": request.request_id,
                "at": round(time.time(), 6),
                "prompt": request.num_prompt_tokens,
                "output": request.num_output_tokens,
                "status": request.status.name,
            }
        )
        return super()._free_request(request, *args, **kwargs)

    def _write(self, document):
        self._log.write(json.dumps(document, separators=(",", ":")) + "\n")
