"""Calls to an API server of Kubernetes, about one workload and who owns its count."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alerts.hooks.base import PermanentFailure, TemporaryFailure
from alerts.hooks.kubernetes_words import explained
from costobs.kernel import http

MERGE = "application/merge-patch+json"
TIMEOUT_SECONDS = (5, 20)  # to connect, to answer
_CONFLICTS = 4


class Cluster:
    """The calls to one API server, about one workload."""

    def __init__(self, client: Any, config: Mapping[str, Any]) -> None:
        from kubernetes.client import AppsV1Api, AutoscalingV2Api, CustomObjectsApi

        self._apps, self._scaling, self._custom = AppsV1Api(client), AutoscalingV2Api(client), CustomObjectsApi(client)
        self._client = client
        self._namespace, self._name = str(config["namespace"]), str(config["name"])
        self._kind = config.get("workload") or "deployment"

    def scale(self) -> dict[str, Any]:
        """The scale subresource."""
        read = {
            "deployment": self._apps.read_namespaced_deployment_scale,
            "statefulset": self._apps.read_namespaced_stateful_set_scale,
        }[self._kind]
        return self._plain(self._asked(f"get {self._kind}s/scale", read, self._name, self._namespace))

    def ready(self) -> int | None:
        """How many pods answer; None where the token may not see that."""
        read = {
            "deployment": self._apps.read_namespaced_deployment,
            "statefulset": self._apps.read_namespaced_stateful_set,
        }[self._kind]
        try:
            found = self._plain(self._asked(f"get {self._kind}s", read, self._name, self._namespace))
        except _Forbidden:
            return None
        return int((found.get("status") or {}).get("readyReplicas") or 0)

    def replicas(self) -> int:
        """How many are asked for now."""
        return int(self.scale()["spec"].get("replicas") or 0)

    def set_replicas(self, count: int) -> None:
        """Through the scale subresource, not over somebody else's change of the same moment."""
        patch = {
            "deployment": self._apps.patch_namespaced_deployment_scale,
            "statefulset": self._apps.patch_namespaced_stateful_set_scale,
        }[self._kind]

        def change() -> None:
            now = self.scale()
            if int(now["spec"].get("replicas") or 0) == count:
                return
            body = {"metadata": _version(now), "spec": {"replicas": count}}
            act = f"patch {self._kind}s/scale"
            self._asked(act, patch, self._name, self._namespace, body, _content_type=MERGE)

        self._without_conflict(change)

    def autoscaler(self) -> dict[str, Any] | None:
        """The HorizontalPodAutoscaler of the workload."""
        act = "list horizontalpodautoscalers.autoscaling"
        found = self._plain(self._asked(act, self._scaling.list_namespaced_horizontal_pod_autoscaler, self._namespace))
        return next((one for one in found.get("items") or [] if self._is_about(one)), None)

    def patch_autoscaler(self, name: str, patch: dict[str, Any]) -> None:
        """Changes the fields of the patch, nothing else."""

        def change() -> None:
            now = self.autoscaler()
            if now is None or now["metadata"]["name"] != name:
                raise PermanentFailure(f"HorizontalPodAutoscaler {name} is gone; look at {self._name} and undo by hand")
            self._asked(
                "patch horizontalpodautoscalers.autoscaling",
                self._scaling.patch_namespaced_horizontal_pod_autoscaler,
                name,
                self._namespace,
                {**patch, "metadata": _version(now)},
                _content_type=MERGE,
            )

        self._without_conflict(change)

    def scaled_object(self) -> dict[str, Any] | None:
        """KEDA's object of the workload; None where KEDA is not installed."""
        act = "list scaledobjects.keda.sh"
        where = ("keda.sh", "v1alpha1", self._namespace, "scaledobjects")
        try:
            found = self._asked(act, self._custom.list_namespaced_custom_object, *where)
        except _Gone:
            return None
        return next((one for one in found.get("items") or [] if self._is_about(one)), None)

    def patch_scaled_object(self, name: str, patch: dict[str, Any]) -> None:
        """Changes the fields of the patch, nothing else; None removes a field."""

        def change() -> None:
            now = self.scaled_object()
            if now is None or now["metadata"]["name"] != name:
                raise PermanentFailure(f"ScaledObject {name} is gone; look at {self._name} and undo by hand")
            metadata = {**patch.get("metadata", {}), **_version(now)}
            where = ("keda.sh", "v1alpha1", self._namespace, "scaledobjects", name)
            self._asked(
                "patch scaledobjects.keda.sh",
                self._custom.patch_namespaced_custom_object,
                *where,
                {**patch, "metadata": metadata},
                _content_type=MERGE,
            )

        self._without_conflict(change)

    def _is_about(self, owner: Mapping[str, Any]) -> bool:
        aim = owner["spec"]["scaleTargetRef"]
        return bool(aim["name"] == self._name) and str(aim.get("kind") or "Deployment").lower() == self._kind

    def _plain(self, answer: Any) -> dict[str, Any]:
        """As the API's own JSON, which has one form in every version of the library."""
        found = self._client.sanitize_for_serialization(answer)
        assert isinstance(found, dict)
        return found

    def _without_conflict(self, change: Callable[[], None]) -> None:
        """Again with what is true now, where somebody else was faster."""
        for _ in range(_CONFLICTS):
            try:
                return change()
            except _Conflict:
                continue
        raise TemporaryFailure(f"{self._name} keeps changing (409 Conflict); it is tried again")

    def _asked(self, act: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        try:
            return call(*arguments, _request_timeout=TIMEOUT_SECONDS, **options)
        except ApiException as problem:
            status, words = explained(problem, act=act, namespace=self._namespace, name=self._name)
            if status == 409:
                raise _Conflict(words) from None
            if status == 404 and "scaledobjects" in act:
                raise _Gone(words) from None
            if status == 403:
                raise _Forbidden(words) from None
            failure = TemporaryFailure if status in {408, 429, 0} or status >= 500 else PermanentFailure
            raise failure(words) from None
        except ValueError as problem:
            kind = type(problem).__name__
            raise PermanentFailure(f"the answer to {act} cannot be read ({kind}); is it Kubernetes?") from None
        except (urllib3.exceptions.HTTPError, OSError) as problem:
            raise TemporaryFailure(f"the API server could not be reached ({type(problem).__name__})") from None


class _Conflict(Exception):
    """Somebody else changed it at the same moment."""


class _Forbidden(PermanentFailure):
    """The token has no right to it."""


class _Gone(Exception):
    """There is no such thing."""


@contextmanager
def cluster(config: Mapping[str, Any], credentials: Mapping[str, str]) -> Iterator[Cluster]:
    """A client of its own for each use, so that credentials of one resource never serve another."""
    import urllib3
    from kubernetes import config as places
    from kubernetes.client import ApiClient, Configuration

    made = Configuration()
    # No redirect is followed: it could lead the token elsewhere. Steps try again, not the library.
    made.retries = urllib3.Retry(connect=0, read=0, redirect=0, status=0, other=0, raise_on_redirect=False)
    try:
        if config.get("server"):
            made.host = _allowed(str(config["server"])).rstrip("/")
            made.api_key = {"BearerToken": f"Bearer {credentials.get('token', '')}"}
            made.ca_cert_data = credentials.get("ca") or None
        else:
            try:
                places.load_incluster_config(made)  # type: ignore[no-untyped-call]  # the library's own
            except places.ConfigException as problem:
                raise PermanentFailure(
                    f"costobs does not run in a cluster ({problem}); give the server's address"
                ) from None
        with ApiClient(made) as client:
            yield Cluster(client, config)
    except ValueError as problem:
        raise PermanentFailure(
            f"the settings cannot be used ({type(problem).__name__}); look at address and CA"
        ) from None


def _allowed(url: str) -> str:
    try:
        return http.check(url)
    except http.BlockedAddress as problem:
        raise PermanentFailure(f"server: {problem}") from None


def _version(found: Mapping[str, Any]) -> dict[str, Any]:
    """With it, the server refuses a change of what has changed since."""
    return {"resourceVersion": found["metadata"]["resourceVersion"]}
