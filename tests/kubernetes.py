"""The examples in etc/kubernetes, read: their documents, and what is said in them of the proxy's container."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import SkipTest

from attrs import frozen

DIRECTORY = Path(__file__).parents[1] / "etc" / "kubernetes"
NAMES = ("deployment.yaml", "sidecar.yaml")


def documents(name: str) -> list[dict[str, Any]]:
    """All documents of one of the examples."""
    try:
        import yaml
    except ImportError:
        raise SkipTest("PyYAML not installed: pip install --group test") from None
    return list(yaml.safe_load_all((DIRECTORY / name).read_text()))


@frozen
class Example:
    """One example: the pod, the proxy's container in it, and its configuration."""

    name: str
    pod: dict[str, Any]
    container: dict[str, Any]
    configuration: str

    @classmethod
    def read(cls, name: str) -> Example:
        kinds = {document["kind"]: document for document in documents(name)}
        pod = kinds["Deployment"]["spec"]["template"]["spec"]
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        (container,) = [each for each in containers if each["image"].startswith("reusedproxy")]
        return cls(name, pod, container, kinds["ConfigMap"]["data"]["reusedproxy.cfg"])

    @property
    def ports(self) -> dict[str, int]:
        return {each["name"]: each["containerPort"] for each in self.container["ports"]}

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {word: each for word, each in self.container.items() if word.endswith("Probe")}
