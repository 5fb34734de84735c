"""Inference components of SageMaker as recorded: requests and answers are checked against the model that botocore ships."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import botocore.session
from botocore.validate import ParamValidator

NAME, ARN = "chat-llama", "arn:aws:sagemaker:eu-central-1:123456789012:"


@dataclass(slots=True)
class Components:
    """One component of two copies; it takes a step towards what is wanted at each look. Not frozen for that reason."""

    url: str = ""
    wanted: int = 2
    running: int = 2
    problems: list[str] = field(default_factory=list)

    def answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to an operation of the service."""
        model = botocore.session.get_session().get_service_model("sagemaker").operation_model(operation)
        report = ParamValidator().validate(body, model.input_shape)
        if report.has_errors() or body["InferenceComponentName"] != NAME:
            self.problems.append(f"{operation}: {report.generate_report()}")
        if operation == "UpdateInferenceComponentRuntimeConfig":
            self.wanted = body["DesiredRuntimeConfig"]["CopyCount"]
            return {"InferenceComponentArn": f"{ARN}inference-component/{NAME}"}
        shown = self.running
        self.running = self.wanted
        return {
            "InferenceComponentName": NAME,
            "InferenceComponentArn": f"{ARN}inference-component/{NAME}",
            "EndpointName": "chat",
            "EndpointArn": f"{ARN}endpoint/chat",
            "InferenceComponentStatus": "InService" if shown == self.wanted else "Updating",
            "RuntimeConfig": {"DesiredCopyCount": self.wanted, "CurrentCopyCount": shown},
            "CreationTime": 1_790_000_000,
            "LastModifiedTime": 1_790_000_000,
        }


@contextmanager
def started() -> Iterator[Components]:
    """The server from when it listens until the block ends."""
    server = Components()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            answer = json.dumps(server.answer(self.headers["X-Amz-Target"].partition(".")[2], body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()
