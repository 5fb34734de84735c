"""The kinds of sources, in one explicit list."""

from costobs.kernel.registry import Registry
from ingest.sources.accelerators import AmdGpu, AwsNeuron, GoogleTpu
from ingest.sources.anthropic_costs import AnthropicCosts
from ingest.sources.anthropic_usage import AnthropicUsage
from ingest.sources.aws_cur import AwsCur
from ingest.sources.azure_costs import AzureCosts
from ingest.sources.base import Source
from ingest.sources.bedrock_log import BedrockLog
from ingest.sources.business_metrics import BusinessMetrics
from ingest.sources.business_sql import BusinessSql
from ingest.sources.dcgm import Dcgm
from ingest.sources.fine_tunes import FineTunes
from ingest.sources.focus_export import FocusExport
from ingest.sources.gate import GateLog
from ingest.sources.gcp_billing import GcpBilling
from ingest.sources.kubernetes_jobs import KubernetesJobs
from ingest.sources.litellm import LiteLlm
from ingest.sources.markers import Markers
from ingest.sources.mlflow import MLflow
from ingest.sources.openai_costs import OpenAICosts
from ingest.sources.openai_fine_tunes import OpenAIFineTunes
from ingest.sources.openai_usage import OpenAIUsage
from ingest.sources.otlp import Otlp
from ingest.sources.owned_capacity import OwnedCapacity
from ingest.sources.prometheus_llm import PrometheusLlm
from ingest.sources.quality_scores import QualityScores
from ingest.sources.slurm_jobs import SlurmJobs
from ingest.sources.usage_log import UsageLog
from ingest.sources.wandb import Wandb

# As the page lists them: bills, usage, GPUs, runs, and what stands beside cost.
KINDS: Registry[Source] = Registry(
    "source",
    [
        FocusExport,
        AwsCur,
        AzureCosts,
        GcpBilling,
        OpenAICosts,
        AnthropicCosts,
        OwnedCapacity,
        OpenAIUsage,
        AnthropicUsage,
        UsageLog,
        GateLog,
        Otlp,
        LiteLlm,
        BedrockLog,
        PrometheusLlm,
        Dcgm,
        AmdGpu,
        AwsNeuron,
        GoogleTpu,
        FineTunes,
        OpenAIFineTunes,
        MLflow,
        Wandb,
        KubernetesJobs,
        SlurmJobs,
        QualityScores,
        BusinessMetrics,
        BusinessSql,
        Markers,
    ],
)
