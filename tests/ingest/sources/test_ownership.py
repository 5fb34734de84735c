"""What a charge is for and how it was bought: lines as the bills of many vendors write them."""

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ingest.rows import COST_KINDS, PURCHASE_OPTIONS
from ingest.sources import focus_export
from ingest.sources.formats import charge_rows, ownership
from ingest.sources.formats.focus import focus_columns

GOLDEN = Path(__file__).parents[2] / "golden" / "focus"
AI = "AI and Machine Learning"
EC2 = {"service_provider_name": "AWS", "service_name": "Amazon Elastic Compute Cloud", "service_category": "Compute"}
BEDROCK = {"service_provider_name": "AWS", "service_name": "Amazon Bedrock", "service_category": AI}
SAGEMAKER = {"service_provider_name": "AWS", "service_name": "Amazon SageMaker", "service_category": AI}
S3 = {"service_provider_name": "AWS", "service_name": "Amazon Simple Storage Service", "service_category": "Storage"}
AOAI = {"service_provider_name": "Microsoft", "service_name": "Azure OpenAI Service", "service_category": AI}
VM = {"service_provider_name": "Microsoft", "service_name": "Virtual Machines", "service_category": "Compute"}
GCE = {"service_provider_name": "Google Cloud", "service_name": "Compute Engine", "service_category": "Compute"}
VERTEX = {"service_provider_name": "Google Cloud", "service_name": "Vertex AI", "service_category": AI}
LAMBDA = {"service_name": "AWS Lambda", "service_category": "Compute"}
RDS = {"service_name": "Amazon Relational Database Service", "service_category": "Databases"}
CLOUDWATCH = {"service_name": "AmazonCloudWatch", "service_category": "Management and Governance"}
CLOUD_RUN = {"service_name": "Cloud Run", "service_category": "Compute"}
ORACLE = {"service_provider_name": "Oracle", "service_name": "COMPUTE"}
GENERATIVE = {"service_category": AI, "service_subcategory": "Generative AI"}
OPENAI = {"service_provider_name": "OpenAI", "service_name": "OpenAI API"}
SAVINGS = {"commitment_discount_id": "arn:aws:savingsplans::1:savingsplan/493f", "commitment_discount_status": "Used"}
RESERVED = {
    "commitment_discount_id": "arn:aws:ec2:us-east-1:1:reserved-instances/5c1e",
    "pricing_category": "Committed",
}
AZURE_RI = {
    "commitment_discount_id": "/providers/Microsoft.Capacity/reservationOrders/1/reservations/2",
    "pricing_category": "Committed",
}
AZURE_SP = {
    "commitment_discount_id": "/providers/Microsoft.BillingBenefits/savingsPlanOrders/1/savingsPlans/2",
    "pricing_category": "Committed",
}
GPT = {"model": "gpt-4o", "token_kind": "input_uncached"}

# service, what the line says, what it is for, how it was bought
LINES: tuple[tuple[dict[str, str], str, str, str], ...] = (
    # AWS
    (EC2, "$98.32 per On Demand Linux p5.48xlarge Instance Hour", "gpu_compute", "on_demand"),
    (EC2, "BoxUsage:g6e.12xlarge", "gpu_compute", "on_demand"),
    (EC2, "USE2-SpotUsage:p4d.24xlarge", "gpu_compute", "spot"),
    (EC2 | {"pricing_category": "Dynamic"}, "g5.xlarge Linux/UNIX instance-hour in us-west-2", "gpu_compute", "spot"),
    (EC2 | SAVINGS, "$12.24 per On Demand Linux p3.8xlarge Instance Hour", "gpu_compute", "savings_plan"),
    (EC2 | RESERVED, "Linux/UNIX (Amazon VPC), inf2.48xlarge reserved instance applied", "gpu_compute", "reserved"),
    (EC2 | {"charge_category": "Purchase"}, "EC2 Capacity Blocks for ML, p5en.48xlarge, 7 days", "gpu_compute", "reserved"),
    (EC2, "USE1-UnusedBox:p5.48xlarge", "gpu_compute", "on_demand"),
    (EC2, "USW2-BoxUsage:trn1.32xlarge", "gpu_compute", "on_demand"),
    (EC2, "$0.0464 per On Demand Linux t3.medium Instance Hour", "cpu_compute", "on_demand"),
    (EC2, "BoxUsage:m6g.large", "cpu_compute", "on_demand"),
    (EC2, "$0.08 per GB-month of General Purpose (gp3) provisioned storage", "storage", ""),
    (EC2, "USE1-EBS:VolumeUsage.gp3", "storage", ""),
    (EC2, "USE1-EBS:SnapshotUsage", "storage", ""),
    (EC2, "$0.090 per GB - first 10 TB / month data transfer out beyond the global free tier", "network", ""),
    (EC2, "USE1-NatGateway-Bytes", "network", ""),
    (EC2, "$0.008 per used Application load balancer capacity unit-hour", "network", ""),
    (S3, "USE1-TimedStorage-ByteHrs", "storage", ""),
    (S3, "USE1-Requests-Tier1", "storage", ""),
    (S3, "USE1-DataTransfer-Out-Bytes", "network", ""),
    (S3, "USE1-S3Vectors-StorageBytes", "vector_store", ""),
    (BEDROCK | GPT, "USE1-Claude4Sonnet-input-tokens", "api_inference", ""),
    (BEDROCK, "USE1-Guardrail-ContentPolicyUnitsConsumed", "api_inference", ""),
    (BEDROCK, "USE1-NovaPro-ProvisionedThroughput-ModelUnits", "serverless_inference", "serverless"),
    (BEDROCK, "USE1-Claude3-ProvisionedThroughput 6-month commitment", "serverless_inference", "reserved"),
    (BEDROCK, "USE1-CustomModelImport-CMU-v1.0", "serverless_inference", "serverless"),
    (BEDROCK, "USE1-TitanTextLite-Customization-Training-Tokens", "fine_tuning", ""),
    (BEDROCK, "USE1-CustomModelStorage", "storage", ""),
    (BEDROCK, "USE1-KnowledgeBase-StructuredData-Queries", "vector_store", ""),
    (SAGEMAKER, "USE1-Train:ml.p4d.24xlarge", "fine_tuning", "on_demand"),
    (SAGEMAKER, "USE1-SpotTrain:ml.g5.2xlarge Spot training", "fine_tuning", "spot"),
    (SAGEMAKER, "USE1-Host:ml.g5.2xlarge", "gpu_compute", "on_demand"),
    (SAGEMAKER, "USE1-Host:ml.m5.xlarge", "cpu_compute", "on_demand"),
    (SAGEMAKER | SAVINGS, "USE1-Host:ml.inf2.xlarge", "gpu_compute", "savings_plan"),
    (SAGEMAKER, "USE1-ServerlessInf:Mem-4GB", "serverless_inference", "serverless"),
    (SAGEMAKER, "USE1-Host:VolumeUsage.gp2", "storage", ""),
    ({"service_name": "Amazon OpenSearch Service"}, "USE1-IndexingOCU", "vector_store", ""),
    ({"service_name": "AWS Support (Business)", "charge_category": "Purchase"}, "AWS Support (Business)", "support", ""),
    (LAMBDA, "USE1-Lambda-GB-Second", "cpu_compute", "serverless"),
    ({"service_name": "AWS Marketplace"}, "AWS Marketplace hourly software usage|us-east-1|m5.2xlarge", "licence", ""),
    (RDS, "InstanceUsage:db.r6g.xlarge", "cpu_compute", "on_demand"),
    (CLOUDWATCH, "$0.30 per metric-month", "other_service", ""),
    ({"service_name": "Amazon EC2", "charge_category": "Tax"}, "Tax for product code AmazonEC2", "tax", ""),
    ({"service_name": "Amazon Bedrock", "charge_category": "Credit"}, "AWS Activate", "credit", ""),
    # Microsoft
    (VM, "Virtual Machines NCads H100 v5 Series - NC40ads H100 v5 - US East", "gpu_compute", "on_demand"),
    (VM, "NC24ads A100 v4 Spot", "gpu_compute", "spot"),
    (VM, "NC6s v3 Low Priority", "gpu_compute", "spot"),
    (VM | AZURE_RI, "ND96asr v4", "gpu_compute", "reserved"),
    (VM | AZURE_SP, "Standard_NV36ads_A10_v5", "gpu_compute", "savings_plan"),
    (VM, "Virtual Machines Dv2/DSv2 Series - D11 v2/DS11 v2 - US East 2", "cpu_compute", "on_demand"),
    (VM, "Premium SSD Managed Disks - P4 LRS - US East", "storage", ""),
    ({"service_name": "Virtual Machines Licenses"}, "Windows Server - 8 vCPU License", "licence", ""),
    ({"service_name": "Bandwidth"}, "Rtn Preference: MGN - Standard Data Transfer Out", "network", ""),
    (AOAI | GPT, "gpt 4o 0806 Inp glbl Tokens", "api_inference", ""),
    (AOAI, "Provisioned Managed Global Hours PTU", "serverless_inference", "serverless"),
    (AOAI | AZURE_RI, "Azure OpenAI Provisioned Managed PTU Reservation", "serverless_inference", "reserved"),
    (AOAI, "gpt-4o-mini Fine Tuning Training Tokens", "fine_tuning", ""),
    (AOAI, "gpt-4o FT Deployment Hosting Unit", "serverless_inference", "serverless"),
    (AOAI | GPT, "gpt 4o FT Inp Regional Tokens", "api_inference", ""),
    ({"service_name": "Azure Cognitive Search", "service_category": AI}, "Standard S1 Unit", "vector_store", ""),
    ({"service_name": "Azure AI Search"}, "Basic Unit", "vector_store", ""),
    ({"service_name": "Azure Machine Learning", "service_category": AI}, "Standard_ND40rs_v2 Compute", "gpu_compute", "on_demand"),
    # Google
    (GCE, "A2 Instance Core running in Americas", "gpu_compute", "on_demand"),
    (GCE, "Nvidia Tesla A100 GPU running in Iowa", "gpu_compute", "on_demand"),
    (GCE, "Nvidia L4 GPU attached to Spot Preemptible VMs running in Americas", "gpu_compute", "spot"),
    (GCE, "Spot Preemptible A3 Instance Ram running in Virginia", "gpu_compute", "spot"),
    (GCE, "Commitment v1: Nvidia H100 80GB GPU in Americas for 1 Year", "gpu_compute", "reserved"),
    (GCE, "Cloud TPU v5e running in us-central1", "gpu_compute", "on_demand"),
    (GCE, "N1 Predefined Instance Core running in Americas", "cpu_compute", "on_demand"),
    (GCE, "Licensing Fee for Deep Learning Image on Nvidia GPU", "licence", ""),
    (GCE, "Storage PD Capacity", "storage", ""),
    (GCE, "Network Internet Egress from Americas to EMEA", "network", ""),
    (CLOUD_RUN, "Services CPU (Request-based billing)", "cpu_compute", "serverless"),
    (CLOUD_RUN, "NVIDIA L4 GPU without zonal redundancy", "gpu_compute", "serverless"),
    (VERTEX | {"model": "gemini-2.5-pro", "token_kind": "output"}, "Gemini 2.5 Pro Text Output - Predictions", "api_inference", ""),
    (VERTEX, "Gemini Provisioned Throughput GSU 1 month", "serverless_inference", "serverless"),
    (VERTEX, "Vertex AI: Vector Search index serving node e2-standard-16", "vector_store", ""),
    (VERTEX, "Vertex AI: Gemini 2.5 Flash Tuning Training tokens", "fine_tuning", ""),
    (VERTEX, "Vertex AI: Online Prediction Nvidia T4 GPU running in Americas", "gpu_compute", "on_demand"),
    # Who sells models and little else
    (OPENAI | GPT, "gpt-4o-2024-08-06, input", "api_inference", ""),
    (OPENAI, "web search tool calls", "api_inference", ""),
    (OPENAI, "vector store storage", "vector_store", ""),
    (OPENAI, "gpt-4o-mini-2024-07-18, fine-tuning training", "fine_tuning", ""),
    (OPENAI, "ChatGPT Enterprise seats", "licence", ""),
    ({"service_provider_name": "Anthropic", "service_name": "Claude API"}, "Web Search Usage", "api_inference", ""),
    ({"service_provider_name": "Mistral AI", "service_name": "La Plateforme"}, "mistral-large, output tokens", "api_inference", ""),
    ({"service_provider_name": "Replicate"}, "Nvidia A100 (80GB) GPU, seconds", "serverless_inference", "serverless"),
    # Vector stores, GPU clouds, databases and what is written by hand
    ({"service_provider_name": "Pinecone", "service_name": "Pinecone Database"}, "Read units, serverless", "vector_store", ""),
    ({"service_provider_name": "Weaviate", "service_name": "Weaviate Cloud"}, "AI units", "vector_store", ""),
    ({"service_provider_name": "Qdrant"}, "Cluster hours", "vector_store", ""),
    ({"service_provider_name": "CoreWeave"}, "HGX H100, 8 GPUs, node-hour", "gpu_compute", "on_demand"),
    ({"service_provider_name": "CoreWeave"}, "Object storage, GB-month", "storage", ""),
    (ORACLE, "Compute - GPU - H100 - BM.GPU.H100.8", "gpu_compute", "on_demand"),
    ({"service_name": "Electricity"}, "Rack 12, kWh", "energy", ""),
    ({"service_name": "Payroll"}, "Staff: ML platform", "staff", ""),
    # Vendors nobody has heard of: by the FOCUS category
    ({"service_name": "Amazon EC2"}, "", "cpu_compute", "on_demand"),
    ({"service_name": "AwesomeVM", "service_category": "Compute"}, "Monthly usage charge", "cpu_compute", "on_demand"),
    ({"service_name": "AwesomeBlob", "service_category": "Storage"}, "Monthly usage charge", "storage", ""),
    ({"service_name": "AwesomeNet", "service_category": "Networking"}, "Monthly usage charge", "network", ""),
    ({"service_name": "AwesomeLLM", **GENERATIVE}, "Monthly usage", "api_inference", ""),
    ({"service_name": "ACMECORP Licenses", "service_category": "Business Applications"}, "Monthly usage charge", "licence", ""),
    ({"service_name": "AwesomeDB", "service_category": "Databases"}, "Monthly usage charge", "other_service", ""),
    ({}, "", "other_service", ""),
)  # fmt: skip


def classified(*rows: dict[str, str]) -> pl.DataFrame:
    names = {*focus_columns.NAMES, "model", "token_kind", *(name for row in rows for name in row)}
    return ownership.classified(
        pl.DataFrame([{**dict.fromkeys(names, ""), **row} for row in rows], schema=dict.fromkeys(names, pl.String))
    )


def told(row: dict[str, str]) -> tuple[str, str]:
    found = classified(row)
    return found["cost_kind"][0], found["purchase_option"][0]


@pytest.mark.parametrize(("service", "line", "kind", "option"), LINES, ids=[f"{line[1]}" for line in LINES])
def test_it_tells_what_a_line_is_for_and_how_it_was_bought(
    service: dict[str, str], line: str, kind: str, option: str
) -> None:
    row = {"charge_category": "Usage", **service, "charge_description": line}

    assert told(row) == (kind, option)


def test_it_gives_every_row_of_the_real_sample_a_kind() -> None:
    found = focus_export.FocusExport(focus_export.FocusExportConfig())
    raw = next(found.open_paths([str(GOLDEN / "focus_sample.csv")]))

    rows = [row for each in found.normalize(raw) for row in each.batch.to_pylist()]

    assert {row["cost_kind"] for row in rows} <= set(COST_KINDS)
    assert {row["purchase_option"] for row in rows} <= {"", *PURCHASE_OPTIONS}
    assert Counter(row["cost_kind"] for row in rows) == {
        "network": 636,
        "storage": 238,
        "other_service": 66,
        "cpu_compute": 48,
        "gpu_compute": 10,
        "credit": 1,
        "licence": 1,
    }
    assert {row["charge_description"].split("Linux ")[1] for row in rows if row["cost_kind"] == "gpu_compute"} == {
        "g3.4xlarge Instance Hour",
        "g5.4xlarge Instance Hour",
    }
    assert (
        Counter(row["purchase_option"] for row in rows if row["service_name"] == EC2["service_name"])["savings_plan"]
        == 3
    )


def test_it_reads_columns_that_focus_does_not_know() -> None:
    usage_type = classified({**EC2, "charge_description": "Linux/UNIX", "+line_item_usage_type": "SpotUsage:g5.xlarge"})
    price_details = classified(
        {**VM, "+SkuPriceDetails": '{"GpuCount": 1, "InstanceType": "Standard_NC24ads_A100_v4"}'}
    )
    bought = classified({**EC2, "pricing_category": "Committed", "+CommitmentDiscountType": "Savings Plan"})

    assert usage_type.row(0, named=True)["cost_kind"] == "gpu_compute"
    assert usage_type.row(0, named=True)["purchase_option"] == "spot"
    assert price_details.row(0, named=True)["cost_kind"] == "gpu_compute"
    assert bought.row(0, named=True)["purchase_option"] == "savings_plan"


def test_it_keeps_what_a_source_has_told_and_the_order_of_rows() -> None:
    rows = classified(
        {**EC2, "charge_description": "BoxUsage:p5.48xlarge", "purchase_option": "owned", "cost_kind": ""},
        {**EC2, "charge_description": "BoxUsage:p5.48xlarge", "purchase_option": "", "cost_kind": "energy"},
        {**S3, "charge_description": "TimedStorage-ByteHrs", "purchase_option": "", "cost_kind": ""},
        {**EC2, "charge_description": "BoxUsage:p5.48xlarge", "purchase_option": "", "cost_kind": ""},
    )

    assert rows.select("cost_kind", "purchase_option").rows() == [
        ("gpu_compute", "owned"),
        ("energy", ""),
        ("storage", ""),
        ("gpu_compute", "on_demand"),
    ]


def test_it_classifies_in_the_charges_of_every_bill() -> None:
    row = {**EC2, "sku_meter": "SpotUsage:g6.xlarge", "billed_cost": "1.5", "billing_currency": "USD"}
    row |= {"charge_period_start": "2026-10-01T00:00:00Z", "charge_period_end": "2026-10-01T01:00:00Z"}

    found = charge_rows.finish(
        pl.DataFrame([row]), [], charge_rows.Reading(), file="bill.csv", file_index=0, first_row=1
    )

    (charge,) = found.batch.to_pylist()
    assert (charge["cost_kind"], charge["purchase_option"]) == ("gpu_compute", "spot")


def test_t222_it_does_not_take_a_name_somebody_gave_a_resource_for_a_machine() -> None:
    row = {**S3, "charge_description": "TimedStorage-ByteHrs", "resource_name": "h100-spot-checkpoints"}

    assert told({**row, "resource_id": "arn:aws:s3:::p5.48xlarge"}) == ("storage", "")


def test_t223_it_books_a_volume_of_a_gpu_node_as_storage_and_its_traffic_as_network() -> None:
    volume = {**EC2, "charge_description": "EBS:VolumeUsage.gp3", "resource_type": "g5.xlarge"}
    traffic = {**EC2, "charge_description": "DataTransfer-Out-Bytes", "+product_instance_type": "p5.48xlarge"}

    assert told(volume) == ("storage", "")
    assert told(traffic) == ("network", "")


def test_t224_it_books_held_capacity_without_a_discount_at_on_demand() -> None:
    held = {**EC2, "charge_description": "USE1-Reservation:p5.48xlarge capacity reservation, unused"}

    assert told(held) == ("gpu_compute", "on_demand")
    assert told({**held, **SAVINGS}) == ("gpu_compute", "savings_plan")


def test_t225_it_takes_tokens_of_a_tuned_model_for_inference_and_only_its_training_for_fine_tuning() -> None:
    tuned = {
        "charge_description": "gpt-4o-mini FT Outp Regional Tokens",
        "model": "gpt-4o-mini",
        "token_kind": "output",
    }
    training = {"charge_description": "gpt-4o-mini FT Training Tokens", "model": "gpt-4o-mini"}

    assert told({**AOAI, **tuned}) == ("api_inference", "")
    assert told({**AOAI, **training}) == ("fine_tuning", "")


def test_t235_it_takes_on_demand_for_an_answer_only_where_capacity_is_held() -> None:
    said = {"purchase_option": "on_demand", "cost_kind": ""}

    assert told({**AOAI, **GPT, **said, "charge_description": "gpt 4o Inp glbl Tokens"}) == ("api_inference", "")
    assert told({**VM, **said, "charge_description": "Premium SSD Managed Disks - P4 LRS"}) == ("storage", "")
    assert told({**VM, **said, "charge_description": "NC24ads A100 v4"}) == ("gpu_compute", "on_demand")


@pytest.mark.parametrize("name", ["Trainium training course", "Energy Sector GPT", "Tax Advisor Bot"])
def test_t226_it_answers_with_a_known_kind_whatever_the_text_says(name: str) -> None:
    kind, option = told({"service_name": name, "charge_description": "\x00|(.*)[" * 20, "service_category": "???"})

    assert kind in COST_KINDS
    assert option in {"", *PURCHASE_OPTIONS}


def test_it_takes_an_empty_frame() -> None:
    schema: dict[str, Any] = dict.fromkeys([*focus_columns.NAMES, "model", "token_kind"], pl.String)

    found = ownership.classified(pl.DataFrame(schema=schema))

    assert found.is_empty()
    assert {"cost_kind", "purchase_option"} <= set(found.columns)
