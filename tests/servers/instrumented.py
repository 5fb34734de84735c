"""An application with instrumented clients, as a program: two instrumentations of one library cannot share a process.

    python instrumented.py INSTRUMENTATIONS MODELS_URL TRACES_URL TOKEN [gzip]

It calls the model server through the real client libraries, and the real exporter sends the spans.
"""

import os
import sys
from contextlib import suppress

import anthropic
import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUESTION = "What is the secret question?"


def main(names: list[str], models: str, traces: str, token: str, packing: str) -> None:
    """One trace with a span for each call, below a span of an agent."""
    about = {
        "service.name": "answers-api",
        "deployment.environment.name": "prod",
        "k8s.namespace.name": "search-prod",
        "costobs.team": "search",
    }
    provider = TracerProvider(resource=Resource.create(about))
    exporter = OTLPSpanExporter(
        endpoint=traces,
        headers={"Authorization": f"Bearer {token}"},
        compression=Compression.Gzip if packing == "gzip" else Compression.NoCompression,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for name in names:
        _instrument(name, provider)
    # The Anthropic library makes spans of its own accord since 2.11.
    os.environ["ANTHROPIC_OPEN_TELEMETRY"] = "true" if "anthropic-sdk" in names else "false"
    tracer = trace.get_tracer("app")
    with tracer.start_as_current_span("invoke_agent helper") as span:
        span.set_attribute("gen_ai.operation.name", "invoke_agent")
        span.set_attribute("gen_ai.usage.input_tokens", 99999)
        _call_anthropic(models) if names[0].startswith("anthropic") else _call_openai(models)
    provider.shutdown()


def _instrument(name: str, provider: TracerProvider) -> None:
    if name == "official":
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as Official

        Official().instrument(tracer_provider=provider)
    elif name == "traceloop":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as Traceloop

        Traceloop().instrument(tracer_provider=provider)
    elif name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor as OpenInference

        OpenInference().instrument(tracer_provider=provider)
    elif name == "anthropic":
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

        AnthropicInstrumentor().instrument(tracer_provider=provider)


def _call_openai(models: str) -> None:
    client = openai.OpenAI(api_key="none", base_url=f"{models}/v1", max_retries=0)
    ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}]}
    client.chat.completions.create(**ask)
    for _ in client.chat.completions.create(**ask, stream=True):
        pass
    for _ in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        pass
    client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
    with suppress(openai.RateLimitError):
        client.chat.completions.create(**{**ask, "model": "broken"})
    client.responses.create(model="gpt-4o", input=QUESTION)


def _call_anthropic(models: str) -> None:
    client = anthropic.Anthropic(api_key="none", base_url=models, max_retries=0)
    ask = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": QUESTION}]}
    client.messages.create(**ask)
    for _ in client.messages.create(**ask, stream=True):
        pass
    with suppress(anthropic.RateLimitError):
        client.messages.create(**{**ask, "model": "broken"})


if __name__ == "__main__":
    main(sys.argv[1].split(","), *sys.argv[2:5], sys.argv[5] if len(sys.argv) > 5 else "")
