"""Checks the manifests for Kubernetes with its own tools: kustomize's output, and what
Helm makes of the chart, against the published schemas, and one with the other.

usage: kubernetes.py DEPLOY KUBECTL CAPABILITY...
"""

import subprocess
import sys

import helm_python as helm
import kubernetes_validate
import yaml

# The oldest that the manifests are for, and the newest that is known.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]

# Values that reach each branch of the chart's templates.
ALL_VALUES = {
    "image": {"repository": "registry.example/observer", "tag": "9"},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "OBSERVER_LOG", "value": "debug"}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "system-node-critical",
    "podAnnotations": {"example/annotation": "true"},
    "seLinuxOptions": {"type": "spc_t"},
}


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document]


def rendered(chart, values):
    files = chart.render(values, name="observer", namespace="observer")
    return [document for text in files.values() for document in documents(text)]


def of_kind(kind, all_of_them):
    (one,) = [document for document in all_of_them if document["kind"] == kind]
    return one


def main(deploy, kubectl, capabilities):
    command = [kubectl, "kustomize", f"{deploy}/kubernetes"]
    kustomized = documents(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    path = f"{deploy}/helm/observer"
    report = helm.lint(path, strict=True)
    assert not report["errors"], report
    chart = helm.Chart.load(path)
    plain = rendered(chart, None)
    full = rendered(chart, ALL_VALUES)

    for name, made in [("kustomize", kustomized), ("helm", plain), ("helm, all values", full)]:
        for version in VERSIONS:
            for document in made:
                kubernetes_validate.validate(document, version, strict=True)
        kinds = sorted(document["kind"] for document in made)
        print(f"{name}: {', '.join(kinds)} fit the schemas of {', '.join(VERSIONS)}")

    ways = [of_kind("DaemonSet", made)["spec"]["template"]["spec"] for made in (kustomized, plain)]
    configs = [of_kind("ConfigMap", made) for made in (kustomized, plain)]
    for pod, config in zip(ways, configs):
        (container,) = pod["containers"]
        allowed = container["securityContext"]["capabilities"]
        assert allowed == {"drop": ["ALL"], "add": capabilities}, allowed
        (mounted,) = [volume for volume in pod["volumes"] if volume["name"] == "config"]
        assert mounted["configMap"]["name"] == config["metadata"]["name"], mounted
        assert "observer.toml" in config["data"], config
        # What may differ between the two ways.
        del mounted["configMap"]["name"], container["imagePullPolicy" if pod is ways[1] else "name"]
        container["name"] = "observer"
    assert ways[0] == ways[1], f"kustomize: {ways[0]}\nhelm: {ways[1]}"

    # Each value of the second rendering has arrived somewhere.
    pod = of_kind("DaemonSet", full)["spec"]["template"]
    text = yaml.safe_dump(pod)
    expected = ["registry.example/observer:9", "name: registry", "OBSERVER_LOG", "os: linux"]
    expected += ["nodeAffinity", "system-node-critical", "example/annotation", "spc_t"]
    missing = [value for value in expected if value not in text]
    assert not missing, f"{missing} aren't in\n{text}"


main(sys.argv[1], sys.argv[2], sys.argv[3:])
