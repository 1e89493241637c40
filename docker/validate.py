"""The checks of docker/validate, which brings the tools. Each finding is a line; any makes the exit code 1."""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

import jsonschema
import kubernetes_validate
import yaml

DOCKER, SCHEMA = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
KUBECTL = sys.argv[3]
KUBERNETES = ["1.30", "1.37"]  # The oldest and the newest that the manifests are held to.

findings = []


def finding(where, what):
    findings.append(f"{where}: {what}")


def strings(value):
    """All strings in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


# === Metrics ===

PROMQL_WORDS = {
    "by", "without", "on", "ignoring", "group_left", "group_right", "offset", "and", "or", "unless", "bool",
    "sum", "min", "max", "avg", "count", "topk", "bottomk", "rate", "irate", "increase", "delta", "histogram_quantile",
    "vector", "scalar", "absent", "time", "clamp_min", "clamp_max", "max_over_time", "min_over_time", "avg_over_time", "label_values",
}  # fmt: skip
EVERYWHERE = {"job", "instance", "otel_scope_name"}
VARIABLE = re.compile(r"\$\{?__[a-z_]+\}?|\$[a-z]+")


def known_metrics():
    """The labels of each series' name."""
    known = {}
    for line in (DOCKER / "prometheus/metrics.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, kind, *labels = line.split()
            labels = EVERYWHERE | set(labels)
            if kind == "histogram":
                known |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
            else:
                known[name] = labels
    return known


METRICS = known_metrics()
ALL_LABELS = {"le"}.union(*METRICS.values())


def promql(where, expression):
    """Every metric, and every label that is asked of it, must be in metrics.txt."""
    text = VARIABLE.sub("1", re.sub(r'"(?:[^"\\]|\\.)*"', '""', re.sub(r"#.*", "", expression)))
    metrics = set()
    for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text):
        metrics.add(name)
        labels = METRICS.get(name)
        for label in re.findall(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)", matchers):
            if labels is not None and label not in labels:
                finding(where, f"{name} has no label {label}")
    text = re.sub(r"\{[^}]*\}", "", text)
    grouped = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    for labels in re.findall(grouped, text):
        for label in filter(None, re.split(r"[\s,]+", labels)):
            if label not in ALL_LABELS:
                finding(where, f"no metric has the label {label}")
    text = re.sub(grouped, "", text)
    metrics |= set(re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*", re.sub(r"\[[^\]]*\]|\boffset\s+\w+", "", text))) - PROMQL_WORDS
    for name in sorted(metrics):
        if name not in METRICS:
            finding(where, f"the metric {name} is not in metrics.txt")
    if not metrics:
        finding(where, f"no metric is asked for: {expression}")


# === Prometheus ===


def prometheus():
    folder = DOCKER / "prometheus"
    for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        run = subprocess.run(["promtool", *arguments], cwd=folder, text=True, capture_output=True)
        if run.returncode != 0:
            finding("prometheus", f"promtool {' '.join(arguments)}\n{run.stdout}{run.stderr}")
    tests = yaml.safe_load((folder / "alerts.test.yml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    rules = [rule for group in yaml.safe_load((folder / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
    for rule in rules:
        name = rule["alert"]
        where = f"alerts.yml, {name}"
        promql(where, rule["expr"])
        if name not in fired:
            finding(where, "no test in alerts.test.yml lets it fire")
        if rule.get("labels", {}).get("severity") not in ("warning", "critical"):
            finding(where, "its severity must be warning or critical")
        annotations = rule.get("annotations", {})
        for wanted in ("summary", "description"):
            if not annotations.get(wanted):
                finding(where, f"has no {wanted}")
        if annotations.get("runbook") != f"docs/operating.md#{name.lower()}":
            finding(where, f"its runbook must be docs/operating.md#{name.lower()}")
        guide = DOCKER.parent / "docs/operating.md"
        if guide.is_file() and not re.search(rf"^#+ {name}$", guide.read_text(), re.MULTILINE):
            finding(where, "docs/operating.md has no heading for it")
    for test in tests:
        for series in test["input_series"]:
            promql(f"alerts.test.yml, {test['name']}", series["series"])


# === Grafana ===


def grafana():
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in sources}
    mounted = [volume.split(":") for volume in COMPOSE["services"]["grafana"]["volumes"]]
    for provider in yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/patchplane.yaml").read_text())["providers"]:
        if provider["options"]["path"] not in [place[1] for place in mounted]:
            finding("grafana", f"compose.yaml mounts nothing at {provider['options']['path']}")
    for file in (DOCKER / "grafana/dashboards").glob("*.json"):
        board = json.loads(file.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        if len(ids) != len(set(ids)):
            finding(file.name, "two panels have the same id")
        variables = {variable["name"] for variable in board["templating"]["list"]}
        taken = set()
        for panel in board["panels"]:
            where = f"{file.name}, panel `{panel.get('title')}`"
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            if cells & taken or at["x"] + at["w"] > 24:
                finding(where, "lies over another panel, or beyond the edge")
            taken |= cells
            if panel["type"] == "row":
                continue
            if not panel.get("title") or not panel.get("targets"):
                finding(where, "has no title or asks for nothing")
            for target in panel.get("targets", []):
                if target["datasource"]["uid"] not in uids:
                    finding(where, f"the data source {target['datasource']['uid']} is not provisioned")
                promql(where, target["expr"])
                for variable in re.findall(r"\$([a-z]+)\b", target["expr"]):
                    if variable not in variables:
                        finding(where, f"there is no variable {variable}")
        for variable in board["templating"]["list"]:
            query = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            promql(f"{file.name}, variable {variable['name']}", query[1])
            if query[2] not in ALL_LABELS:
                finding(f"{file.name}, variable {variable['name']}", f"no metric has the label {query[2]}")


# === The collector ===


def collector():
    config = yaml.safe_load((DOCKER / "collector/collector.yaml").read_text())
    used = {"receivers": set(), "processors": set(), "exporters": set()}
    for name, pipeline in config["service"]["pipelines"].items():
        if name.split("/")[0] not in ("traces", "metrics", "logs"):
            finding("collector.yaml", f"the pipeline {name} carries nothing known")
        for kind, names in pipeline.items():
            if kind not in used:
                finding("collector.yaml", f"the pipeline {name} has {kind}, which is no part of one")
                continue
            used[kind] |= set(names)
            for missing in set(names) - set(config.get(kind, {})):
                finding("collector.yaml", f"the pipeline {name} names {missing}, which is not among the {kind}")
        for kind in ("receivers", "exporters"):
            if not pipeline.get(kind):
                finding("collector.yaml", f"the pipeline {name} has no {kind}")
    for kind, names in used.items():
        for idle in set(config.get(kind, {})) - names:
            finding("collector.yaml", f"{idle} among the {kind} is in no pipeline")
    extensions = set(config.get("extensions", {}))
    for odd in extensions ^ set(config["service"].get("extensions", [])):
        finding("collector.yaml", f"the extension {odd} is not both configured and used")
    for odd in set(config) - {"receivers", "processors", "exporters", "extensions", "connectors", "service"}:
        finding("collector.yaml", f"{odd} is no part of a collector's configuration")
    for service in COMPOSE["services"].values():
        endpoint = (service.get("environment") or {}).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        if endpoint and endpoint != "http://collector:" + config["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].split(":")[1]:
            finding("compose.yaml", f"nothing receives OTLP at {endpoint}")


# === Compose ===

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())


def compose():
    schema = json.loads(SCHEMA.read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(COMPOSE):
        finding("compose.yaml", f"{'.'.join(map(str, error.absolute_path))}: {error.message}")
    services = COMPOSE["services"]
    healthy_by_image = "HEALTHCHECK" in (DOCKER / "Dockerfile").read_text()
    for name, service in services.items():
        where = f"compose.yaml, {name}"
        ours = "patchplane" in service["image"]
        profiles = set(service.get("profiles", []))
        for needed, how in service.get("depends_on", {}).items():
            if needed not in services:
                finding(where, f"depends on {needed}, which is no service")
                continue
            other = services[needed]
            if not set(other.get("profiles", [])) <= profiles:
                finding(where, f"depends on {needed}, which is in other profiles")
            check = other.get("healthcheck", {"test": "image"} if healthy_by_image and "patchplane" in other["image"] else {})
            if how["condition"] == "service_healthy" and "test" not in check:
                finding(where, f"waits for {needed} to be healthy, which has no health check")
        mode = service.get("network_mode", "")
        if mode.startswith("service:"):
            if mode.removeprefix("service:") not in services:
                finding(where, f"shares the network of {mode.removeprefix('service:')}, which is no service")
            if service.get("ports") or service.get("networks"):
                finding(where, "has ports or networks beside another service's network")
        for network in service.get("networks", []):
            if network not in COMPOSE["networks"]:
                finding(where, f"is in the network {network}, which is not there")
        for secret in service.get("secrets", []):
            if secret not in COMPOSE["secrets"]:
                finding(where, f"reads the secret {secret}, which is not there")
        for text in strings(service):
            for secret in re.findall(r"/run/secrets/([\w-]+)", text):
                if secret not in service.get("secrets", []):
                    finding(where, f"names the secret {secret}, which it is not given")
        for volume in service.get("volumes", []):
            source, _, *how = volume.split(":")
            if source.startswith("."):
                if not (DOCKER / source).exists() or how != ["ro"]:
                    finding(where, f"{source} is not there, or may be written to")
            elif source not in COMPOSE["volumes"]:
                finding(where, f"uses the volume {source}, which is not there")
        for port in service.get("ports", []):
            if not re.fullmatch(r"127\.0\.0\.1:[\d-]+:\d+", port):
                finding(where, f"the port {port} is not on loopback alone")
        limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
        if not {"cpus", "memory", "pids"} <= set(limits):
            finding(where, "lacks limits of cpus, memory and pids")
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"] or service.get("cap_add"):
            finding(where, "its root can be written to, or it keeps capabilities")
        if "no-new-privileges:true" not in service.get("security_opt", []):
            finding(where, "may gain privileges")
        if "healthcheck" not in service and not ours and name != "collector":
            finding(where, "has no health check")
        command = service.get("command", [])
        if ours and command[0] == "serve":
            drains("config/patchplane.toml", where, int(service["stop_grace_period"].removesuffix("s")))
            for argument in command:
                file = re.search(r"/etc/patchplane/([\w.]+)", argument)
                if file and not (DOCKER / "config" / file[1]).is_file():
                    finding(where, f"reads {argument}, which is not mounted")
    targets = {(name, port) for entry in scrapes() for name, port in entry}
    for name, port in sorted(targets):
        if name not in services and name != "localhost":
            finding("prometheus.yml", f"scrapes {name}:{port}, which is no service of compose.yaml")


def scrapes():
    config = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        for discovery in job.get("dns_sd_configs", []):
            yield [(name, str(discovery["port"])) for name in discovery["names"]]
        for static in job.get("static_configs", []):
            yield [tuple(target.split(":")) for target in static["targets"]]


def drains(file, where, seconds):
    """Whoever stops the server must wait for longer than it takes to drain."""
    text = file if "\n" in file else (DOCKER / file).read_text()
    drain = tomllib.loads(text).get("drain", {"lame_duck": "5s", "timeout": "15s"})
    takes = sum(int(drain[part].removesuffix("s")) for part in ("lame_duck", "timeout"))
    if seconds <= takes:
        finding(where, f"is killed after {seconds} s, and a drain may take {takes} s")


# === Kubernetes ===


def kubernetes():
    for folder in (DOCKER / "kubernetes/base", *sorted((DOCKER / "kubernetes/overlays").iterdir())):
        build = subprocess.run([KUBECTL, "kustomize", folder], text=True, capture_output=True)
        place = f"kubernetes/{folder.name}"
        if build.returncode != 0 or build.stderr:
            finding(place, build.stderr)
            continue
        objects = list(yaml.safe_load_all(build.stdout))
        for thing in objects:
            where = f"{place}, {thing['kind']} {thing['metadata']['name']}"
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(thing, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    path = ".".join(map(str, error.path))
                    finding(where, f"{path}: {error.message} (Kubernetes {version})")
        together(place, objects)


def together(place, objects):
    def all_of(kind):
        return [thing for thing in objects if thing["kind"] == kind]

    def selects(selector, labels):
        return bool(selector) and all(labels.get(key) == value for key, value in selector.items())

    names = {(thing["kind"], thing["metadata"]["name"]) for thing in objects}
    namespaces = {thing["metadata"].get("namespace") for thing in objects if thing["kind"] != "Namespace"}
    if len(namespaces) != 1 or namespaces - {None} - {thing["metadata"]["name"] for thing in all_of("Namespace")}:
        finding(place, f"the objects are in the namespaces {namespaces}")
    (deployment,) = all_of("Deployment")
    where = f"{place}, Deployment {deployment['metadata']['name']}"
    pod = deployment["spec"]["template"]["spec"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for container in pod["containers"] for port in container.get("ports", [])}
    if not selects(deployment["spec"]["selector"]["matchLabels"], labels):
        finding(where, "does not select its own pods")
    for spread in pod["topologySpreadConstraints"]:
        if not selects(spread["labelSelector"]["matchLabels"], labels):
            finding(where, f"spreads other pods than its own by {spread['topologyKey']}")
    if ("ServiceAccount", pod["serviceAccountName"]) not in names:
        finding(where, f"the service account {pod['serviceAccountName']} is not there")
    for service in all_of("Service"):
        if not selects(service["spec"]["selector"], labels):
            finding(place, f"the service {service['metadata']['name']} selects no pods")
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                finding(place, f"the service {service['metadata']['name']} leads to the port {port['targetPort']}, which is not there")
    for policy in all_of("NetworkPolicy"):
        if not selects(policy["spec"]["podSelector"].get("matchLabels"), labels):
            finding(place, "the network policy selects no pods")
        for rule in policy["spec"]["ingress"]:
            for port in rule["ports"]:
                if port["port"] not in ports:
                    finding(place, f"the network policy opens the port {port['port']}, which is not there")
    for budget in all_of("PodDisruptionBudget"):
        if not selects(budget["spec"]["selector"]["matchLabels"], labels):
            finding(place, "the disruption budget selects no pods")
    outside = {"postgres-ca"}  # Made by whoever deploys: docker/README.md.
    mounted = {}
    for volume in pod["volumes"]:
        config = volume.get("configMap", {}).get("name")
        if config and config not in outside and ("ConfigMap", config) not in names:
            finding(where, f"the config map {config} is not there")
        mounted[volume["name"]] = config
    security = pod["securityContext"]
    if not security.get("runAsNonRoot") or not security.get("runAsUser") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        finding(where, "does not say runAsNonRoot, a user and the seccomp profile")
    for container in pod["containers"]:
        own = container["securityContext"]
        confined = own.get("readOnlyRootFilesystem") and own.get("allowPrivilegeEscalation") is False
        if not confined or own.get("capabilities") != {"drop": ["ALL"]}:
            finding(where, f"the container {container['name']} is not confined")
        if not {"requests", "limits"} <= set(container.get("resources", {})):
            finding(where, f"the container {container['name']} has no requests or limits")
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in mounted:
                finding(where, f"mounts {mount['name']}, which is no volume")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if container["name"] != "patchplane":
                continue
            asked = container.get(probe, {}).get("grpc", {})
            wanted = "readiness" if probe == "readinessProbe" else "liveness"
            if asked.get("port") != ports["grpc"] or asked.get("service") != wanted:
                finding(where, f"its {probe} must ask {wanted} on port {ports['grpc']}")
    (config,) = all_of("ConfigMap")
    drains(config["data"]["patchplane.toml"], where, pod["terminationGracePeriodSeconds"])
    known = tomllib.loads(config["data"]["patchplane.toml"])
    if int(known["listen"].split(":")[1]) != ports["grpc"] or int(known["telemetry"]["prometheus"].split(":")[1]) != ports["metrics"]:
        finding(where, "patchplane.toml names other ports than the container")


# === The Dockerfile ===


def dockerfile():
    text = (DOCKER / "Dockerfile").read_text()
    workspace = tomllib.loads((DOCKER.parent / "Cargo.toml").read_text())["workspace"]
    for member in workspace["members"]:
        if f"COPY {member}/Cargo.toml {member}/\n" not in text:
            finding("Dockerfile", f"does not copy the manifest of the crate {member}")
    toolchain = workspace["package"]["rust-version"]
    if f"ARG RUST_IMAGE=rust:{toolchain}-" not in text:
        finding("Dockerfile", f"its Rust is not the workspace's, {toolchain}")


for part in (dockerfile, compose, collector, grafana, prometheus, kubernetes):
    before = len(findings)
    try:
        part()
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        finding(part.__name__, f"cannot be read as what it should be: {error!r}")
    print(f"{part.__name__:12} {'ok' if len(findings) == before else 'FAILED'}")
if findings:
    print("\n" + "\n".join(findings))
    sys.exit(1)
