"""docker/validate --self-test: each sabotage of a file must be found, and named. Arguments as for validate.py."""

import concurrent.futures
import pathlib
import shutil
import subprocess
import sys
import tempfile

DOCKER, *TOOLS = sys.argv[1:]
VALIDATE = str(pathlib.Path(__file__).with_name("validate.py"))

# Which file, what in it, by what it is replaced, and what the finding must say.
SABOTAGES = [
    ("compose.yaml", "stop_grace_period: 30s", "stop_grace_periode: 30s", "stop_grace_periode"),
    ("compose.yaml", "stop_grace_period: 30s", "stop_grace_period: 15s", "a drain may take 20 s"),
    ("compose.yaml", "    postgres: {condition: service_healthy}", "    postgresql: {condition: service_healthy}", "depends on postgresql"),
    ("compose.yaml", '"127.0.0.1:9090:9090"', '"9090:9090"', "is not on loopback alone"),
    ("compose.yaml", "networks: [view, back]", "networks: [vieuw, back]", "the network vieuw"),
    ("prometheus/alerts.yml", "max(patchplane_operations_stalled_seconds)", "max(patchplane_operation_stalled_seconds)", "patchplane_operation_stalled_seconds is not in metrics.txt"),
    ("prometheus/alerts.yml", 'outcome="error"', 'result="error"', "has no label result"),
    ("prometheus/alerts.yml", "> 900", "> 9000", "FAILED"),
    ("prometheus/prometheus.yml", "scrape_configs:", "scrape_config:", "scrape_config"),
    ("grafana/dashboards/patchplane.json", "max by (kind, state) (patchplane_operations_unfinished", "max by (kind, sate) (patchplane_operations_unfinished", "the label sate"),
    ("grafana/dashboards/patchplane.json", "patchplane_watchers", "patchplane_watcher", "patchplane_watcher is not in metrics.txt"),
    ("grafana/dashboards/patchplane.json", '"id": 2,', '"id": 1,', "same id"),
    ("collector/collector.yaml", "exporters: [debug]", "exporters: [otlp]", "names otlp"),
    ("kubernetes/base/deployment.yaml", "readOnlyRootFilesystem", "readonlyRootFilesystem", "readonlyRootFilesystem"),
    ("kubernetes/base/deployment.yaml", "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 20", "a drain may take 20 s"),
    ("kubernetes/base/deployment.yaml", "serviceAccountName: patchplane", "serviceAccountName: patchplan", "service account patchplan"),
    ("kubernetes/base/service.yaml", "targetPort: metrics", "targetPort: metric", "leads to the port metric"),
    ("kubernetes/overlays/production/kustomization.yaml", "path: serviceaccount.yaml", "path: account.yaml", "account.yaml"),
    ("Dockerfile", "COPY server/sim/Cargo.toml server/sim/\n", "", "the crate server/sim"),
]  # fmt: skip


def found(sabotage):
    file, old, new, said = sabotage
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "docker"
        shutil.copytree(DOCKER, copy, ignore=shutil.ignore_patterns("secrets"))
        shutil.copy(pathlib.Path(DOCKER).parent / "Cargo.toml", folder)
        text = (copy / file).read_text()
        if old not in text:
            return f"{file} has no {old!r} to sabotage"
        (copy / file).write_text(text.replace(old, new))
        run = subprocess.run([sys.executable, VALIDATE, str(copy), *TOOLS], text=True, capture_output=True)
        if run.returncode == 1 and said in run.stdout:
            return None
        return f"{file}, {old!r} made {new!r}: not found (exit code {run.returncode})\n{run.stdout}{run.stderr}"


with concurrent.futures.ThreadPoolExecutor(2) as pool:
    missed = [answer for answer in pool.map(found, SABOTAGES) if answer]
print("\n".join([*missed, f"{len(SABOTAGES) - len(missed)} of {len(SABOTAGES)} sabotages found"]))
sys.exit(bool(missed))
