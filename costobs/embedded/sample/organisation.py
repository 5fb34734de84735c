"""Who the sample organisation is: its teams, features, keys, models, accounts and GPU nodes. All of it is invented."""

from dataclasses import dataclass, field
from decimal import Decimal

NAME = "Quillfern Outfitters"
LABEL = "Sample"
SET_BY = "sample"
SEED = 7
DAYS = 90


@dataclass(frozen=True, slots=True)
class Team:
    """A team, the cost centre it is charged to, and who answers for it."""

    name: str
    title: str
    cost_centre: str
    email: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model as calls name it. Prices are list prices in USD per 1M tokens, by token kind; speeds are medians."""

    provider: str
    name: str
    prices: dict[str, Decimal]
    ttft_ms: int
    ms_per_token: float
    prompt_limit: int
    error_rate: float = 0.008


@dataclass(frozen=True, slots=True)
class Feature:
    """One stream of calls. Token figures are means of one call; `calls` are those of an ordinary weekday.

    A feature with `steps` is an agent: `calls` then counts its runs, each of so many calls on average, whose prompts
    grow.
    """

    name: str
    team: str
    key: str
    account: str
    model: str
    calls: int
    prompt: int
    output: int
    cached: float = 0.0
    written: float = 0.0
    reasoning: float = 0.0
    shape: str = "conv"  # which of the two real traces its sizes and bursts follow
    rhythm: str = "office"  # office, evening, night, flat
    weekend: float = 0.4
    steps: int = 0
    is_streamed: bool = False
    deployment: str = ""
    operation: str = "chat"
    environment: str = "prod"
    is_owned: bool = True


@dataclass(frozen=True, slots=True)
class Node:
    """A GPU node: what it is, what it costs, and how many of its GPUs serve which deployment."""

    name: str
    instance_type: str
    gpu_model: str
    gpus: int
    serving: int
    deployment: str
    hourly_price: Decimal
    reserved_price: Decimal | None  # of one hour, where a reservation covers the node
    memory_mib: int
    watts: int
    loaded_mib: int
    tags: dict[str, str] = field(default_factory=dict)


def _usd(**prices: str) -> dict[str, Decimal]:
    return {kind: Decimal(price) for kind, price in prices.items()}


TEAMS = (
    Team("search", "Search", "CC-210", "search-lead@quillfern.example"),
    Team("support", "Support", "CC-310", "support-lead@quillfern.example"),
    Team("growth", "Growth", "CC-410", "growth-lead@quillfern.example"),
    Team("data-platform", "Data platform", "CC-120", "platform-lead@quillfern.example"),
    Team("research", "Research", "CC-510", "research-lead@quillfern.example"),
)
COST_CENTRES = {team.name: team.cost_centre for team in TEAMS}

LLAMA = "llama-3.1-70b-w4a16"
QWEN = "qwen2.5-14b-w8a8"
GUARD = "acme-guard-2"  # no list knows it: the sample's unpriced usage

MODELS = {
    model.name: model
    for model in (
        Model("openai", "gpt-5", _usd(input_uncached="1.25", cache_read="0.125", output="10"), 900, 11.0, 260_000),
        Model("openai", "gpt-5-mini", _usd(input_uncached="0.25", cache_read="0.025", output="2"), 520, 6.5, 260_000),
        Model("openai", "gpt-5-pro", _usd(input_uncached="15", cache_read="15", output="120"), 4200, 24.0, 260_000),
        Model(
            "openai",
            "text-embedding-3-small",
            _usd(input_uncached="0.02", cache_read="0.02", output="0"),
            0,
            0.0,
            500_000,
        ),
        Model(
            "anthropic",
            "claude-sonnet-4-5",
            _usd(input_uncached="3", cache_read="0.30", cache_write_5m="3.75", output="15"),
            1150,
            13.5,
            190_000,
        ),
        Model(
            "anthropic",
            "claude-haiku-4-5",
            _usd(input_uncached="1", cache_read="0.10", cache_write_5m="1.25", output="5"),
            480,
            6.0,
            190_000,
        ),
        Model(
            "anthropic",
            "claude-opus-4-5",
            _usd(input_uncached="5", cache_read="0.50", cache_write_5m="6.25", output="25"),
            1500,
            16.0,
            190_000,
        ),
        Model(
            "aws.bedrock",
            "amazon.nova-pro-v1:0",
            _usd(input_uncached="0.80", cache_read="0.20", output="3.20"),
            700,
            8.0,
            290_000,
        ),
        Model(
            "self_hosted",
            LLAMA,
            _usd(input_uncached="0.90", cache_read="0.09", output="3.60"),
            1400,
            28.0,
            120_000,
            0.012,
        ),
        Model(
            "self_hosted", QWEN, _usd(input_uncached="0.25", cache_read="0.025", output="1"), 240, 9.0, 30_000, 0.004
        ),
        Model("acme", GUARD, {}, 130, 1.0, 16_000),
    )
}

# Accounts as the bills name them. Everything in `proj_experiments` is billed and never logged.
ACCOUNTS = {
    "proj_search": "Search",
    "proj_growth": "Growth",
    "proj_data": "Data platform",
    "proj_playground": "Playground",
    "proj_experiments": "Experiments",
    "ws_search": "search",
    "ws_support": "support",
    "ws_data": "data-platform",
    "ws_research": "research",
    "ws_legacy": "default",
    "441200000017": "quillfern-research",
    "441200000029": "quillfern-platform",
}

NODES = (
    Node(
        "gpu-node-1",
        "g6e.12xlarge",
        "NVIDIA L40S",
        4,
        4,
        "llama-70b",
        Decimal("10.49264"),
        Decimal("6.50544"),
        46_068,
        350,
        41_850,
        {"environment": "prod", "service": "llm-serving", "team": "data-platform"},
    ),
    Node(
        "gpu-node-2",
        "g6e.12xlarge",
        "NVIDIA L40S",
        4,
        2,
        "llama-70b",
        Decimal("10.49264"),
        None,
        46_068,
        350,
        41_850,
        {"environment": "prod", "service": "llm-serving", "team": "data-platform"},
    ),
    Node(
        "gpu-node-3",
        "g5.12xlarge",
        "NVIDIA A10G",
        4,
        4,
        "qwen-14b",
        Decimal("5.672"),
        None,
        23_028,
        300,
        20_100,
        {"environment": "prod", "service": "llm-serving", "team": "search"},
    ),
)

# Tokens a deployment gets through in one second when it is busy: prompt and output.
THROUGHPUT = {"llama-70b": (460.0, 95.0), "qwen-14b": (1_800.0, 420.0)}
