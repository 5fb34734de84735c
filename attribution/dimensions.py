"""The names by which usage and bills speak of the same provider."""

from dataclasses import dataclass

SELF_HOSTED = "self_hosted"


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as FOCUS names it, and the service its models are sold as."""

    provider_name: str
    service_name: str


# OpenTelemetry gen_ai.provider.name -> how that provider's own FOCUS export names itself.
PROVIDERS = {
    "openai": Provider("OpenAI", "OpenAI API"),
    "anthropic": Provider("Anthropic", "Claude API"),
    "aws.bedrock": Provider("AWS", "Amazon Bedrock"),
    "gcp.vertex_ai": Provider("Google Cloud", "Vertex AI"),
    "gcp.gemini": Provider("Google Cloud", "Gemini API"),
    "gcp.gen_ai": Provider("Google Cloud", "Vertex AI"),
    "azure.ai.openai": Provider("Microsoft", "Azure OpenAI"),
    "azure.ai.inference": Provider("Microsoft", "Azure AI Foundry"),
    "cohere": Provider("Cohere", "Cohere API"),
    "deepseek": Provider("DeepSeek", "DeepSeek API"),
    "groq": Provider("Groq", "GroqCloud"),
    "mistral_ai": Provider("Mistral AI", "La Plateforme"),
    "perplexity": Provider("Perplexity", "Perplexity API"),
    "x_ai": Provider("xAI", "xAI API"),
    "ibm.watsonx.ai": Provider("IBM", "watsonx.ai"),
    SELF_HOSTED: Provider("Self-hosted", "Self-hosted models"),
}

# Names seen on bills, in lower case -> the name above. The books keep the vendor's own text; only matching uses these.
ALIASES = {
    "amazon web services": "AWS",
    "amazon web services, inc.": "AWS",
    "amazon": "AWS",
    "google": "Google Cloud",
    "gcp": "Google Cloud",
    "google cloud platform": "Google Cloud",
    "azure": "Microsoft",
    "microsoft azure": "Microsoft",
    "microsoft corporation": "Microsoft",
    "openai, llc": "OpenAI",
    "openai, l.l.c.": "OpenAI",
    "anthropic, pbc": "Anthropic",
    "anthropic pbc": "Anthropic",
    "mistral": "Mistral AI",
    "x.ai": "xAI",
}

# Sell much besides models: of their bills only model lines and AI services are about tokens. Of everyone else, all usage is.
CLOUDS = ("AWS", "Microsoft", "Google Cloud", "IBM", "Oracle", "Alibaba Cloud", "Tencent Cloud")
AI_CATEGORY = "AI and Machine Learning"

# Which source counts where several tell of the same money, the most specific first.
USAGE_SPECIFICITY = (
    "gate",
    "litellm",
    "usage_log",
    "otlp",
    "bedrock_log",
    "openai_usage",
    "anthropic_usage",
    "prometheus_llm",
)
# Those of them that a vendor has summed over all that was called.
USAGE_SUMS = ("openai_usage", "anthropic_usage")
BILLING_SPECIFICITY = (
    "openai_costs",
    "anthropic_costs",
    "owned_capacity",
    "focus_export",
    "aws_cur",
    "gcp_billing",
    "azure_costs",
)


def canonical(provider_name: str) -> str:
    """The one name behind the spellings of a provider on bills."""
    return ALIASES.get(provider_name.strip().lower(), provider_name.strip())


def provider_name(provider: str) -> str:
    """The FOCUS name of an OpenTelemetry provider; an unknown one keeps its name."""
    known = PROVIDERS.get(provider)
    return known.provider_name if known else provider


def provider_name_sql(column: str) -> str:
    """`provider_name` as an SQL expression over a column of OpenTelemetry names."""
    return _case(column, {name: one.provider_name for name, one in PROVIDERS.items()}, default=column)


def service_name_sql(column: str) -> str:
    """The service name of usage as an SQL expression over a column of OpenTelemetry names."""
    return _case(column, {name: one.service_name for name, one in PROVIDERS.items()}, default=column)


def usage_cost_kind_sql(column: str) -> str:
    """What estimated usage pays for, as an SQL expression over a column of OpenTelemetry names: tokens, or own GPUs."""
    return f"(CASE WHEN {column} = '{SELF_HOSTED}' THEN 'gpu_compute' ELSE 'api_inference' END)"


def canonical_sql(column: str) -> str:
    """`canonical` as an SQL expression over a column of names from bills."""
    return _case(f"lower(trim({column}))", ALIASES, default=f"trim({column})")


def _case(subject: str, names: dict[str, str], *, default: str) -> str:
    # The names are constants of this module; none holds a quote or a percent sign.
    whens = " ".join(f"WHEN '{key}' THEN '{value}'" for key, value in names.items())
    return f"(CASE {subject} {whens} ELSE {default} END)"
