# The part of docker/test.sh that --compose adds: compose.yaml's profile `simulated` in a copy, with stand-ins for the images that
# only a registry has: PostgreSQL and Prometheus as Debian has them. The collector and Grafana are left out.
# shellcheck shell=bash

echo "=== compose"
composer=$target/docker-compose
if ! "$composer/bin/podman-compose" --version 2>/dev/null | grep -q 1.6.0; then
  python3 -m venv --clear "$composer"
  "$composer/bin/python" -m pip install --quiet --disable-pip-version-check podman-compose==1.6.0
fi

stand_in() {
  local name=$1
  if has_image "$name"; then return; fi
  mkdir -p "$work/stand-in"
  cat >"$work/stand-in/Dockerfile"
  nice -n 19 buildah bud --quiet --format docker --isolation chroot --pull-never --tag "localhost/$name" "$work/stand-in" >/dev/null
}

# Knows of the public image's entrypoint what compose.yaml asks of it. Its socket is in /tmp: podman makes other tmpfs for root alone.
stand_in stand-in-postgres:15 <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
 && apt-get update && apt-get install -y --no-install-recommends postgresql-15 && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* \
 && install -d -o 999 -g 999 /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/15/bin:/usr/sbin:/usr/bin:/sbin:/bin PGDATA=/var/lib/postgresql/data PGHOST=/tmp
RUN printf '%s\n' '#!/bin/sh' 'set -eu' \
 'if [ ! -s "$PGDATA/PG_VERSION" ]; then' \
 '  initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS >/dev/null' \
 '  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"' \
 '  pg_ctl --wait -o "-c listen_addresses= -c unix_socket_directories=/tmp" start >/dev/null' \
 '  createdb --username="$POSTGRES_USER" "$POSTGRES_DB"' \
 '  pg_ctl --wait stop >/dev/null' \
 'fi' \
 'exec postgres -c "listen_addresses=*" -c unix_socket_directories=/tmp' >/usr/local/bin/entrypoint && chmod 755 /usr/local/bin/entrypoint
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["/usr/local/bin/entrypoint"]
DOCKERFILE
stand_in stand-in-prometheus:2 <<'DOCKERFILE'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus busybox && rm -rf /var/lib/apt/lists/* \
 && ln -s /bin/busybox /usr/bin/wget && install -d -o 65534 -g 65534 /prometheus
VOLUME /prometheus
USER 65534:65534
ENTRYPOINT ["/usr/bin/prometheus"]
DOCKERFILE

# In a copy, on ports that are free, with secrets of its own. Podman 4 knows no names in a network without a way out.
free_ports() { python3 -c 'import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(port.getsockname()[1] for port in held))'; }
read -r first_port second_port prometheus_port < <(free_ports)
mkdir "$work/compose"
cp -r docker "$work/compose/"
rm -rf "$work/compose/docker/secrets"
sed -i -e "s/\"127.0.0.1:50051:50051\"/\"127.0.0.1:$first_port:50051\"/" -e "s/\"127.0.0.1:50052:50052\"/\"127.0.0.1:$second_port:50052\"/" \
  -e "s/\"127.0.0.1:9090:9090\"/\"127.0.0.1:$prometheus_port:9090\"/" -e '/internal: true/s/true/false/' "$work/compose/docker/compose.yaml"
"$work/compose/docker/make-secrets"
chmod 755 "$work/compose" "$work/compose/docker"

project=patchplane-test-compose
composed() {
  (cd "$work/compose/docker" && POSTGRES_IMAGE=localhost/stand-in-postgres:15 PROMETHEUS_IMAGE=localhost/stand-in-prometheus:2 \
    PATCHPLANE_IMAGE=$production PATCHPLANE_DEV_IMAGE=$dev \
    "$composer/bin/podman-compose" --project-name $project --profile simulated "$@")
}
cat >"$work/compose-down" <<DOWN
#!/bin/sh
podman ps --all --quiet --filter label=io.podman.compose.project=$project | xargs --no-run-if-empty podman rm --force --volumes --depend --time 5 >/dev/null 2>&1
podman volume ls --quiet --filter label=io.podman.compose.project=$project | xargs --no-run-if-empty podman volume rm --force >/dev/null 2>&1
podman network ls --quiet --filter label=io.podman.compose.project=$project | xargs --no-run-if-empty podman network rm --force >/dev/null 2>&1
DOWN
chmod 755 "$work/compose-down"
"$work/compose-down"

part() { podman ps --all --format '{{.Names}}' --filter label=io.podman.compose.project=$project | grep -E "_$1(_1)?$"; }
healthy() {
  local name
  for _ in $(seq 120); do
    name=$(part "$1") && podman healthcheck run "$name" >/dev/null 2>&1 && return
    sleep 0.5
  done
  echo "$1 is not healthy"
  podman logs --tail 20 "$name"
  return 1
}

# podman-compose starts in the order of depends_on; here nobody but the test asks for health, so it goes step by step.
composed_up() {
  composed up --detach --no-deps postgres simulated-account
  healthy postgres
  composed up --detach --no-deps simulated-1 simulated-2 prometheus
  healthy simulated-1
  healthy simulated-2
  healthy prometheus
}
first=http://127.0.0.1:$first_port second=http://127.0.0.1:$second_port
replicated() {
  local name instance
  instance=$(patchctl --server "$first" instances | awk '/ Online .*Amazon Linux 2 / { print $1; exit }')
  name=$(patchctl --server "$first" scan --instance "$instance" --no-wait -o json |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["patchOperation"]["name"])')
  podman kill --signal KILL "$(part simulated-1)"
  patchctl --server "$second" operations get "$name" --watch | grep -E '^State +SUCCEEDED'
  nsenter --net --target "$(podman inspect --format '{{.State.Pid}}' "$(part simulated-account)")" \
    python3 -c 'import sys, json, urllib.request as http
nodes = json.load(http.urlopen("http://127.0.0.1:4566/_sim/installs"))["nodes"]
assert [node["scans"] for node in nodes if node["instance_id"] == sys.argv[1]] == [1], nodes' "$instance"
}
scraped() {
  python3 - "http://127.0.0.1:$prometheus_port/api/v1" "$1" <<'PYTHON'
import json, sys, time, urllib.request
api, wanted = sys.argv[1], int(sys.argv[2])
def ask(path):
    try:
        return json.load(urllib.request.urlopen(f"{api}/{path}"))["data"]
    except OSError as error:
        sys.exit(f"{api}/{path}: {error}")
rules = [rule["name"] for group in ask("rules")["groups"] for rule in group["rules"]]
assert "PatchplaneNoReplica" in rules, rules
for _ in range(60):
    targets = [target for target in ask("targets")["activeTargets"] if target["labels"]["job"] == "patchplane"]
    up = [target for target in targets if target["health"] == "up"]
    if len(targets) >= 2 and len(up) >= wanted:
        print(len(targets), "targets,", len(up), "up")
        break
    time.sleep(1)
else:
    sys.exit(f"targets: {[(target['scrapeUrl'], target['health'], target['lastError']) for target in targets]}")
if wanted:
    names = ask("label/__name__/values")
    assert "rpc_server_call_duration_seconds_count" in names, names
PYTHON
}
before=$failed
check "compose: two replicas serve on one PostgreSQL, and Prometheus is there" composed_up
if [ "$failed" = "$before" ]; then
  check "compose: ports are on loopback alone" on_loopback_only "$(part simulated-account)"
  check "compose: a replica is user 10001 without capabilities" is_confined "$(part simulated-1)"
  check "compose: one replica is killed in mid-scan, the other one finishes it, and it was sent once" replicated
  if grep -rqs 'opentelemetry_prometheus' server/src; then
    podman start "$(part simulated-1)" >/dev/null
    healthy simulated-1
    check "compose: Prometheus has the rules, finds both replicas, and scrapes them" scraped 2
  else
    check "compose: Prometheus has the rules, and finds both replicas" scraped 0
    echo "not yet        no metrics are served in this tree"
  fi
fi
"$work/compose-down"
rm "$work/compose-down"
