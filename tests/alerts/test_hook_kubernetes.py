"""The Kubernetes hook: its real client library against a server that checks each request against the published schema."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from alerts.hooks.base import BadConfig, Change, PermanentFailure, TemporaryFailure, merged
from alerts.hooks.kubernetes import Kubernetes
from tests.servers import kubernetes
from tests.servers.certificates import self_signed
from tests.servers.kubernetes import PAUSED, TOKEN, Cluster

HOOK = Kubernetes()
SECRETS = {"token": TOKEN}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A deployment chat/vllm of three replicas. In the end, every request was one that the schema knows."""
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    with kubernetes.started() as started:
        yield started
    assert started.wrong == []


def config(cluster: Cluster, **more: str) -> dict[str, Any]:
    return {"server": cluster.url, "namespace": "chat", "name": "vllm", **more}


def applied(cluster: Cluster, to_units: int) -> Change:
    """Looks, plans, applies, and sees that it took effect."""
    given = config(cluster)
    change = HOOK.plan(HOOK.look(given, SECRETS), to_units, given)
    HOOK.apply(change, given, SECRETS)
    assert HOOK.is_applied(change, HOOK.look(given, SECRETS))
    return change


def undone(cluster: Cluster, change: Change) -> None:
    given = config(cluster)
    HOOK.undo(change, given, SECRETS)
    HOOK.undo(change, given, SECRETS)  # restored already is fine
    assert HOOK.is_undone(change, HOOK.look(given, SECRETS))


def test_it_scales_to_zero_and_back_through_the_scale_subresource(cluster: Cluster) -> None:
    change = applied(cluster, 0)

    assert cluster.replicas == 0
    (patch,) = cluster.patches()
    assert patch.path == "/apis/apps/v1/namespaces/chat/deployments/vllm/scale"
    assert patch.body == {"metadata": {"resourceVersion": "100"}, "spec": {"replicas": 0}}
    assert change.words == "Scale deployment chat/vllm from 3 to 0 replicas"
    undone(cluster, change)
    assert cluster.replicas == 3


def test_it_changes_nothing_when_it_is_done_already(cluster: Cluster) -> None:
    change = applied(cluster, 0)
    before = len(cluster.patches())

    HOOK.apply(change, config(cluster), SECRETS)

    assert len(cluster.patches()) == before


def test_it_scales_a_statefulset(cluster: Cluster) -> None:
    cluster.kind = "StatefulSet"
    given = config(cluster, workload="statefulset", resume_seconds="240")

    change = HOOK.plan(HOOK.look(given, SECRETS), 1, given)
    HOOK.apply(change, given, SECRETS)

    assert cluster.replicas == 1
    assert change.resume_seconds == 240 and "about 240 s" in change.resume_words
    HOOK.undo(change, given, SECRETS)
    assert cluster.replicas == 3


def test_it_pauses_keda_at_zero_and_takes_the_pause_off_exactly(cluster: Cluster) -> None:
    cluster.scaled_object = kubernetes.scaled_object(minReplicaCount=2, maxReplicaCount=8)
    before = cluster.scaled_object

    change = applied(cluster, 0)

    assert cluster.replicas == 0
    assert cluster.scaled_object["metadata"]["annotations"] == {"team": "search", PAUSED: "0"}
    assert "pause ScaledObject vllm-so" in change.words
    undone(cluster, change)
    restored = {**cluster.scaled_object, "metadata": {**cluster.scaled_object["metadata"]}}
    restored["metadata"].pop("resourceVersion")
    assert restored == before
    assert cluster.replicas == 2  # KEDA decides again


def test_it_puts_a_pause_back_that_somebody_else_had_set(cluster: Cluster) -> None:
    cluster.scaled_object = kubernetes.scaled_object()
    cluster.scaled_object["metadata"]["annotations"][PAUSED] = "3"

    change = applied(cluster, 0)
    undone(cluster, change)

    assert cluster.scaled_object["metadata"]["annotations"][PAUSED] == "3"
    assert cluster.replicas == 3


@pytest.mark.parametrize("spec", [{}, {"maxReplicaCount": 8}, {"minReplicaCount": 4, "maxReplicaCount": 8}])
def test_it_holds_keda_below_a_ceiling_and_restores_its_bounds(cluster: Cluster, spec: dict[str, int]) -> None:
    cluster.scaled_object = kubernetes.scaled_object(**spec)
    cluster.replicas = 6

    change = applied(cluster, 2)

    assert cluster.replicas == 2
    assert cluster.scaled_object["spec"]["maxReplicaCount"] == 2
    assert cluster.scaled_object["spec"].get("minReplicaCount", 0) <= 2
    undone(cluster, change)
    bounds = {name: value for name, value in cluster.scaled_object["spec"].items() if name.endswith("ReplicaCount")}
    assert bounds == spec


def test_it_holds_an_autoscaler_below_a_ceiling_and_restores_its_bounds(cluster: Cluster) -> None:
    cluster.autoscaler, cluster.replicas = kubernetes.autoscaler(4, 8), 6

    change = applied(cluster, 2)

    assert (cluster.replicas, cluster.autoscaler["spec"]["maxReplicas"]) == (2, 2)
    assert change.words.startswith("Lower the maximum of HorizontalPodAutoscaler vllm-hpa")
    undone(cluster, change)
    assert (cluster.autoscaler["spec"]["minReplicas"], cluster.autoscaler["spec"]["maxReplicas"]) == (4, 8)


def test_it_switches_an_autoscaler_off_at_zero_and_on_again(cluster: Cluster) -> None:
    cluster.autoscaler = kubernetes.autoscaler(None, 8)

    change = applied(cluster, 0)

    assert cluster.replicas == 0
    assert [patch.path.rpartition("/")[2] for patch in cluster.patches()] == ["scale"]
    undone(cluster, change)
    assert cluster.replicas == 3
    assert "minReplicas" not in cluster.autoscaler["spec"]


def test_it_restores_the_pause_only_and_not_the_bounds_that_somebody_changed_meanwhile(cluster: Cluster) -> None:
    cluster.scaled_object = kubernetes.scaled_object(minReplicaCount=2, maxReplicaCount=8)
    change = applied(cluster, 0)
    cluster.scaled_object["spec"]["maxReplicaCount"] = 20
    cluster.scaled_object["metadata"]["annotations"]["autoscaling.keda.sh/paused"] = "true"

    assert HOOK.is_applied(change, HOOK.look(config(cluster), SECRETS))
    undone(cluster, change)

    assert cluster.scaled_object["spec"]["maxReplicaCount"] == 20
    assert cluster.scaled_object["metadata"]["annotations"] == {
        "team": "search", "autoscaling.keda.sh/paused": "true"
    }  # fmt: skip


def test_it_restores_the_replicas_only_and_not_the_bounds_of_an_autoscaler_that_it_did_not_touch(
    cluster: Cluster,
) -> None:
    cluster.autoscaler, cluster.replicas = kubernetes.autoscaler(2, 8), 5
    change = applied(cluster, 0)
    cluster.autoscaler["spec"]["maxReplicas"] = 20

    undone(cluster, change)

    assert cluster.autoscaler["spec"]["maxReplicas"] == 20
    assert cluster.replicas > 0


def test_it_sees_that_somebody_lowered_a_ceiling_further(cluster: Cluster) -> None:
    cluster.autoscaler, cluster.replicas = kubernetes.autoscaler(1, 8), 6
    change = applied(cluster, 4)

    cluster.autoscaler["spec"]["maxReplicas"] = cluster.replicas = 2

    assert not HOOK.is_applied(change, HOOK.look(config(cluster), SECRETS))


def test_it_restores_what_two_changes_took_when_the_first_has_ended_before(cluster: Cluster) -> None:
    cluster.scaled_object = kubernetes.scaled_object(minReplicaCount=2, maxReplicaCount=8)
    cluster.replicas = 6
    ceiling = applied(cluster, 3)
    stop = applied(cluster, 0)
    both = replace(stop, from_units=ceiling.from_units, before=merged(ceiling.before, stop.before))

    assert HOOK.is_applied(both, HOOK.look(config(cluster), SECRETS))
    undone(cluster, both)

    assert cluster.scaled_object["spec"]["maxReplicaCount"] == 8
    assert cluster.scaled_object["metadata"]["annotations"] == {"team": "search"}


def test_it_never_raises_what_is_lower_already(cluster: Cluster) -> None:
    given = config(cluster)
    cluster.replicas = 1
    assert HOOK.is_there(HOOK.look(given, SECRETS), 2)

    cluster.autoscaler = kubernetes.autoscaler(1, 8)
    assert not HOOK.is_there(HOOK.look(given, SECRETS), 2)  # it could grow
    assert HOOK.is_there(HOOK.look(given, SECRETS), 8)

    cluster.autoscaler, cluster.scaled_object, cluster.replicas = None, kubernetes.scaled_object(), 0
    assert not HOOK.is_there(HOOK.look(given, SECRETS), 0)  # the next request would wake it


def test_it_works_where_keda_is_not_installed(cluster: Cluster) -> None:
    cluster.has_keda = False

    assert HOOK.look(config(cluster), SECRETS).words == "3 of 3 replicas ready"


def test_it_says_how_far_it_is(cluster: Cluster) -> None:
    cluster.ready = 1
    found = HOOK.look(config(cluster), SECRETS)
    assert (found.units, found.words, found.is_settled) == (3, "1 of 3 replicas ready", False)

    cluster.forbidden = {("get", "deployments")}
    found = HOOK.look(config(cluster), SECRETS)
    assert (found.units, found.words, found.is_settled) == (3, "3 of 3 replicas placed", True)

    cluster.replicas, cluster.placed, cluster.ready = 0, 2, 2
    found = HOOK.look(config(cluster), SECRETS)
    assert (found.units, found.words, found.is_settled) == (0, "2 replicas are ending", False)


def test_it_tries_a_conflict_again_with_what_is_true_then(cluster: Cluster) -> None:
    cluster.conflicts = 2

    applied(cluster, 0)

    assert len(cluster.patches()) == 3
    cluster.conflicts = 100
    with pytest.raises(TemporaryFailure, match="409 Conflict"):
        HOOK.undo(Change(3, 0, "", "", "", None, {}), config(cluster), SECRETS)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (("get", "deployments/scale"), "give its role `get` on deployments/scale of the API group 'apps'"),
        (("patch", "deployments/scale"), "give its role `patch` on deployments/scale"),
        (("list", "horizontalpodautoscalers"), "`list` on horizontalpodautoscalers of the API group 'autoscaling'"),
        (("list", "scaledobjects"), "`list` on scaledobjects of the API group 'keda.sh'"),
    ],
)
def test_it_names_the_right_that_is_missing(cluster: Cluster, right: tuple[str, str], words: str) -> None:
    cluster.forbidden = {right}

    with pytest.raises(PermanentFailure) as refused:
        applied(cluster, 0)

    assert words in str(refused.value) and "(403)" in str(refused.value)


def test_it_says_what_is_wrong_and_never_the_token(cluster: Cluster) -> None:
    given = config(cluster)
    with pytest.raises(PermanentFailure, match="expired or is wrong") as expired:
        HOOK.look(given, {"token": "another-very-secret"})
    with pytest.raises(PermanentFailure, match="there is no deployment chat/other"):
        HOOK.look({**given, "name": "other"}, SECRETS)
    cluster.fails_with = [500]
    with pytest.raises(TemporaryFailure, match="answered get deployments/scale with 500: etcdserver"):
        HOOK.look(given, SECRETS)
    with pytest.raises(TemporaryFailure, match="could not be reached"):
        HOOK.look({**given, "server": "http://127.0.0.1:1"}, SECRETS)
    cluster.redirects_to = f"{cluster.url}/elsewhere"
    with pytest.raises(PermanentFailure) as redirected:
        HOOK.look(given, SECRETS)

    assert not any(one.path == "/elsewhere" for one in cluster.asked)
    for problem in (expired, redirected):
        assert "secret" not in str(problem.value) and problem.value.__cause__ is None


def test_it_asks_no_address_of_this_machine_that_nobody_allowed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "")

    with pytest.raises(PermanentFailure, match="private address"):
        HOOK.look(config(cluster), SECRETS)
    with pytest.raises(PermanentFailure, match="does not run in a cluster"):
        HOOK.look({"namespace": "chat", "name": "vllm"}, {})

    assert cluster.asked == []


@pytest.mark.parametrize(
    ("given", "secrets", "field"),
    [
        ({"name": "vllm"}, SECRETS, "namespace"),
        ({"namespace": "chat", "name": "../secrets"}, {}, "name"),
        ({"namespace": "chat", "name": "vllm", "workload": "pod"}, {}, "workload"),
        ({"namespace": "chat", "name": "vllm", "server": "https://k8s.example.invalid"}, SECRETS, "server"),
        ({"namespace": "chat", "name": "vllm", "server": "http://127.0.0.1:6443"}, {}, "token"),
        ({"namespace": "chat", "name": "vllm"}, SECRETS, "server"),
        ({"namespace": "chat", "name": "vllm", "resume_seconds": "soon"}, {}, "resume_seconds"),
        ({"namespace": "chat", "name": "vllm", "server": "http://127.0.0.1"}, {**SECRETS, "ca": "x"}, "ca"),
        ({"namespace": "chat", "name": "vllm", "replicas": "1"}, {}, "replicas"),
    ],
)
def test_it_refuses_what_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], secrets: dict[str, str], field: str
) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")

    with pytest.raises(BadConfig) as refused:
        HOOK.check(given, secrets)

    assert refused.value.field == field


def test_it_knows_that_somebody_scaled_it_by_hand(cluster: Cluster) -> None:
    change = applied(cluster, 0)
    cluster.replicas = 5

    found = replace(HOOK.look(config(cluster), SECRETS), is_settled=True)

    assert not HOOK.is_applied(change, found) and not HOOK.is_undone(change, found)


def test_it_trusts_the_ca_that_it_was_given_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTOBS_PRIVATE_HOSTS", "127.0.0.1")
    pem, context = self_signed(tmp_path / "server.pem")
    with kubernetes.started(context) as cluster:
        given = config(cluster)

        assert HOOK.look(given, {**SECRETS, "ca": pem}).units == 3
        with pytest.raises(TemporaryFailure, match="could not be reached"):
            HOOK.look(given, SECRETS)


def test_it_uses_the_service_account_of_its_own_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, context = self_signed(tmp_path / "server.pem")
    (tmp_path / "ca.crt").write_text(pem)
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    with kubernetes.started(context) as cluster:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", cluster.url.rpartition(":")[2])

        assert HOOK.look({"namespace": "chat", "name": "vllm"}, {}).units == 3
