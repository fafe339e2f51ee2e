"""The manifests of deploy/ are what Kubernetes takes: known kinds with their fields, names that fit each other."""

import glob
import os
import re
import sys

import pytest
from support import ROOT

sys.path.append("/usr/lib/python3/dist-packages")  # python3-yaml
yaml = pytest.importorskip("yaml")

HERE = os.path.join(ROOT, "deploy")
FILES = sorted(os.path.basename(path) for path in glob.glob(f"{HERE}/*.yaml"))
QUANTITY = re.compile(r"^\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?$")
NAME = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
LABEL = re.compile(r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")

# Fields of the API's types that the manifests may use: type -> field -> type of its value, "?" for plain values. [] is a list of, {} a
# map to. From the Kubernetes API reference.
TYPES = {
    "Meta": {"name": "?", "namespace": "?", "labels": "{}?", "annotations": "{}?"},
    "RuntimeClass": {"handler": "?", "overhead": "Overhead", "scheduling": "Scheduling"},
    "Overhead": {"podFixed": "{}quantity"},
    "Scheduling": {"nodeSelector": "{}?", "tolerations": "[]Toleration"},
    "Toleration": {"key": "?", "operator": "?", "value": "?", "effect": "?"},
    "Namespace": {},
    "ServiceAccount": {},
    "ClusterRole": {"rules": "[]Rule"},
    "Rule": {"apiGroups": "[]?", "resources": "[]?", "verbs": "[]?"},
    "ClusterRoleBinding": {"roleRef": "RoleRef", "subjects": "[]Subject"},
    "RoleRef": {"apiGroup": "?", "kind": "?", "name": "?"},
    "Subject": {"kind": "?", "name": "?", "namespace": "?"},
    "DaemonSet": {"spec": "DaemonSetSpec"},
    "DaemonSetSpec": {"selector": "Selector", "updateStrategy": "UpdateStrategy", "template": "Template"},
    "Selector": {"matchLabels": "{}?"},
    "UpdateStrategy": {"type": "?", "rollingUpdate": "RollingUpdate"},
    "RollingUpdate": {"maxUnavailable": "?"},
    "Template": {"metadata": "Meta", "spec": "PodSpec"},
    "Pod": {"spec": "PodSpec"},
    "PodSpec": {
        "runtimeClassName": "?", "restartPolicy": "?", "serviceAccountName": "?", "nodeSelector": "{}?", "tolerations": "[]Toleration", "hostPID": "?",
        "containers": "[]Container", "initContainers": "[]Container", "volumes": "[]Volume",
    },
    "Container": {
        "name": "?", "image": "?", "imagePullPolicy": "?", "command": "[]?", "args": "[]?", "env": "[]Env", "securityContext": "SecurityContext",
        "resources": "Resources", "volumeMounts": "[]VolumeMount", "ports": "[]Port",
    },
    "Env": {"name": "?", "value": "?", "valueFrom": "ValueFrom"},
    "ValueFrom": {"fieldRef": "FieldRef"},
    "FieldRef": {"fieldPath": "?"},
    "SecurityContext": {"privileged": "?"},
    "Resources": {"requests": "{}quantity", "limits": "{}quantity"},
    "VolumeMount": {"name": "?", "mountPath": "?", "mountPropagation": "?", "readOnly": "?"},
    "Port": {"containerPort": "?"},
    "Volume": {"name": "?", "hostPath": "HostPath", "emptyDir": "EmptyDir"},
    "HostPath": {"path": "?", "type": "?"},
    "EmptyDir": {},
}  # fmt: skip
VERSIONS = {
    "RuntimeClass": "node.k8s.io/v1", "Namespace": "v1", "ServiceAccount": "v1", "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1", "DaemonSet": "apps/v1", "Pod": "v1",
}  # fmt: skip


def documents(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return [document for document in yaml.safe_load_all(file) if document]


def check(value, kind, place):
    if kind.startswith("[]"):
        assert isinstance(value, list), place
        for i, item in enumerate(value):
            check(item, kind[2:], f"{place}[{i}]")
    elif kind.startswith("{}"):
        assert isinstance(value, dict), place
        for key, item in value.items():
            assert LABEL.match(key), f"{place}.{key}"
            check(item, kind[2:], f"{place}.{key}")
            assert kind != "{}?" or isinstance(item, str), f"{place}.{key} must be a string"
    elif kind == "quantity":
        assert QUANTITY.match(str(value)), f"{place}: {value!r}"
    elif kind == "?":
        assert isinstance(value, str | int | bool), place
    else:
        assert isinstance(value, dict), place
        for key, item in value.items():
            assert key in TYPES[kind], f"{place}: {kind} has no field {key}"
            check(item, TYPES[kind][key], f"{place}.{key}")


@pytest.mark.parametrize("name", FILES)
def test_fields(name):
    for document in documents(name):
        kind = document.pop("kind")
        assert document.pop("apiVersion") == VERSIONS[kind]
        meta = document.pop("metadata")
        check(meta, "Meta", "metadata")
        assert NAME.match(meta["name"])
        check(document, kind, kind)


@pytest.mark.parametrize("name", FILES)
def test_pods(name):
    for document in documents(name):
        if document["kind"] not in ("Pod", "DaemonSet"):
            continue
        spec = document["spec"]
        if document["kind"] == "DaemonSet":
            labels = spec["template"]["metadata"]["labels"]
            assert spec["selector"]["matchLabels"].items() <= labels.items()
            spec = spec["template"]["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        containers = spec["containers"] + spec.get("initContainers", [])
        assert len({container["name"] for container in containers}) == len(containers)
        used = {mount["name"] for container in containers for mount in container.get("volumeMounts", ())}
        assert used == volumes


def test_names_fit_each_other():
    found = {}
    for name in FILES:
        for document in documents(name):
            found.setdefault(document["kind"], []).append(document)
    (runtime,) = found["RuntimeClass"]
    for pod in found["Pod"]:
        assert pod["spec"]["runtimeClassName"] == runtime["metadata"]["name"]
    (role,), (binding,), (account,), (namespace,) = (found[kind] for kind in ("ClusterRole", "ClusterRoleBinding", "ServiceAccount", "Namespace"))
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"][0]["name"] == account["metadata"]["name"]
    assert account["metadata"]["namespace"] == namespace["metadata"]["name"]
    from sandbox.commands.install import RUNTIME

    assert runtime["handler"] == RUNTIME.default
    sys.path.insert(0, HERE)
    import installer

    assert runtime["scheduling"]["nodeSelector"] == {installer.LABEL: "true"}
    modes = set()
    for daemon in found["DaemonSet"]:
        spec = daemon["spec"]["template"]["spec"]
        assert daemon["metadata"]["namespace"] == namespace["metadata"]["name"]
        assert spec["serviceAccountName"] == account["metadata"]["name"]
        (container,) = spec["containers"]
        modes.update(container["args"])
        assert "NODE_NAME" in {row["name"] for row in container["env"]}
        assert container["volumeMounts"][0]["mountPath"] == "/host" and spec["hostPID"]
    assert modes == {"install", "uninstall"}
