#!/usr/bin/env bash
# Builds the images and proves what docker/README.md promises of them. `--help` tells the rest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'HELP'
usage: docker/test.sh [--strict] [--quick | --binaries FOLDER | --profile NAME] [--compose] [--keep] [--help]

Builds the images `production` and `dev` by docker/Dockerfile with buildah, runs them with podman, and proves: who they run as,
that they hold no shell and can write nowhere else than to their volume, that production cannot simulate; a walk with patchctl
through the published port, a drain under load that loses nothing, health, start-up time, size. All of it on loopback.

  --profile NAME     Cargo's profile to compile with; unset: release. What is compiled is kept for the next run
  --binaries FOLDER  compile nothing: FOLDER/production/patchplane, FOLDER/dev/patchplane and FOLDER/dev/patchctl go into the images
  --quick            the same with a debug build by the machine's own cargo into its target folder: what CI runs
  --compose          also run docker/compose.yaml's simulated account and two replicas, on PostgreSQL and Prometheus of Debian
  --keep             leave the images for podman afterwards, and say how they are reached
  --strict           fail where it would be skipped: without root, or where Debian's packages cannot be had

Installs buildah, podman, runc and debootstrap from Debian if they are missing. There is no registry to ask: base images of the
public names are made by debootstrap, once; they are kept in ${XDG_CACHE_HOME:-~/.cache}/patchplane/containers.
HELP
}

strict=false quick=false compose=false keep=false profile=release binaries=
while [ $# -gt 0 ]; do
  case $1 in
    --strict) strict=true ;;
    --quick) quick=true ;;
    --compose) compose=true ;;
    --keep) keep=true ;;
    --profile) profile=${2:?--profile wants a name}; shift ;;
    --binaries) binaries=${2:?--binaries wants a folder}; shift ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

skip() {
  if $strict; then echo "FAILED: $*" >&2; exit 1; fi
  echo "skipped: $*"
  exit 0
}

# === The machine ===

packages=()
for program in buildah podman runc debootstrap; do
  command -v "$program" >/dev/null || packages+=("$program")
done
if [ "$(id -u)" != 0 ]; then skip "images are built and run as root here"; fi
if $compose && [ ! -e /usr/lib/cni/dnsname ]; then packages+=(golang-github-containernetworking-plugin-dnsname); fi
if [ ${#packages[@]} != 0 ]; then
  echo "=== installing ${packages[*]}"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >/dev/null ||
    skip "Debian's packages ${packages[*]} cannot be installed"
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/patchplane/containers
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$cache/run" "$target"
work=$(mktemp -d)
# What runc needs where it may not raise limits, and cgroups are not systemd's.
cat >"$cache/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/store"\nrunroot = "%s/run/containers"\n' "$cache" "$cache" >"$cache/storage.conf"
export CONTAINERS_CONF=$cache/containers.conf CONTAINERS_STORAGE_CONF=$cache/storage.conf XDG_RUNTIME_DIR=$cache/run

# Without systemd nothing asks for the health every ten seconds; the test asks itself.
podman() { command podman "$@" 2> >(grep -v 'systemd connection' >&2); }

run=patchplane-test-$$
production=localhost/patchplane:production dev=localhost/patchplane:dev
clean_up() {
  local code=$?
  set +e
  if [ -n "${load:-}" ]; then kill $load 2>/dev/null; fi
  if [ -x "$work/compose-down" ]; then "$work/compose-down"; fi
  podman ps --all --quiet --filter "label=run=$run" --sort created | tac | xargs --no-run-if-empty podman rm --force --volumes --time 0 >/dev/null 2>&1
  podman volume ls --quiet --filter "label=run=$run" | xargs --no-run-if-empty podman volume rm --force >/dev/null 2>&1
  podman image unmount --force $production $dev >/dev/null 2>&1
  if $keep; then
    echo "export CONTAINERS_CONF=$CONTAINERS_CONF CONTAINERS_STORAGE_CONF=$CONTAINERS_STORAGE_CONF XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR   # $production $dev"
  else
    podman image rm --force $production $dev >/dev/null 2>&1
  fi
  rm -rf "$work"
  exit $code
}
trap clean_up EXIT
trap 'exit 130' INT TERM

passed=0 failed=0 began=$SECONDS
# SENTENCE COMMAND: runs the command in a shell of its own; its output is shown when it fails.
check() {
  local sentence=$1 begun=$SECONDS code
  shift
  # In a condition `set -e` would count for nothing.
  set +e
  (set -e; "$@") >"$work/check.txt" 2>&1
  code=$?
  set -e
  if [ $code = 0 ]; then
    passed=$((passed + 1))
    printf 'ok      %3d s  %s\n' $((SECONDS - begun)) "$sentence"
  else
    failed=$((failed + 1))
    printf 'FAILED  %3d s  %s\n' $((SECONDS - begun)) "$sentence"
    sed 's/^/        /' "$work/check.txt"
  fi
}

# COMMAND: must fail.
fails() { if "$@"; then echo "did not fail: $*"; return 1; fi; }
# Nothing may come in.
nothing() { if grep .; then return 1; fi; }

# === The images ===

has_image() { podman image exists "localhost/$1"; }

make_bases() {
  if ! has_image debian:bookworm-slim; then
    echo "=== making a base image like debian:bookworm-slim"
    local mirror
    mirror=$(grep -hE '^(deb |URIs:)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
      grep -oE 'https?://[^ ]+' | grep -v security | head -1)
    nice -n 19 debootstrap --variant=minbase --include=ca-certificates bookworm "$work/base" "$mirror" >"$work/debootstrap.log" ||
      { tail "$work/debootstrap.log"; skip "debootstrap failed"; }
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    tar -C "$work/base" -cf "$work/base.tar" .
    podman import --quiet "$work/base.tar" localhost/debian:bookworm-slim >/dev/null
    rm -r "$work/base" "$work/base.tar"
  fi
  if [ -z "$binaries" ] && ! has_image "$rust_image"; then
    echo "=== making a base image like $rust_image, into which the machine's toolchain is mounted"
    mkdir -p "$work/empty"
    printf '%s\n' 'FROM debian:bookworm-slim' \
      'RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*' \
      'ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
      >"$work/rust.Dockerfile"
    nice -n 19 buildah bud --quiet --format docker --isolation chroot --pull-never --tag "localhost/$rust_image" \
      --file "$work/rust.Dockerfile" "$work/empty" >/dev/null
  fi
}

build() {
  local stage=$1 tag=$2
  shift 2
  nice -n 19 buildah bud --format docker --isolation chroot --pull-never --file docker/Dockerfile --target "$stage" --tag "$tag" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" --build-arg "SOURCE=$source" \
    "$@" . >"$work/build.log" 2>&1 || { tail -n 60 "$work/build.log"; echo "FAILED: the image $stage was not built"; exit 1; }
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
created=$(date --utc +%Y-%m-%dT%H:%M:%SZ)
source=https://example.com/patchplane
rust_image=$(sed -n 's/^ARG RUST_IMAGE=//p' docker/Dockerfile)

if $quick; then
  echo "=== debug builds by the machine's cargo"
  binaries=$target/docker-binaries
  mkdir -p "$binaries/production" "$binaries/dev"
  begun=$SECONDS
  # Without the feature first: the other build then puts the binary back that everybody expects at that place.
  nice -n 19 cargo build --quiet --locked --package patchplane-server --no-default-features
  install -s "$target/debug/patchplane" "$binaries/production/"
  nice -n 19 cargo build --quiet --locked --workspace --bins
  install -s "$target/debug/patchplane" "$target/debug/patchctl" "$binaries/dev/"
  echo "$((SECONDS - begun)) s"
fi

begun=$SECONDS
make_bases
echo "=== building the images"
for kind in production dev; do mkdir -p "$work/$kind/out"; done
if [ -n "$binaries" ]; then
  for kind in production dev; do cp "$binaries/$kind"/patch* "$work/$kind/out/"; done
else
  # Compiled in layers, which are kept; the last stages anew, for a kept layer may have the labels of an earlier build.
  cargo fetch --quiet --locked
  compile=(--layers --build-arg "PROFILE=$profile" -v "$(rustc --print sysroot):/usr/local/rust:ro"
    -v "${CARGO_HOME:-$HOME/.cargo}/registry:/usr/local/cargo/registry")
  for stage in build:production build-simulated:dev; do
    built=localhost/patchplane-built:${stage#*:}
    build "${stage%:*}" "$built" "${compile[@]}"
    cp "$(podman image mount "$built")"/out/* "$work/${stage#*:}/out/"
    podman image unmount "$built" >/dev/null
  done
fi
contexts=(--build-context "build=$work/production" --build-context "build-simulated=$work/dev")
build production $production "${contexts[@]}"
build dev $dev "${contexts[@]}"
echo "$((SECONDS - begun)) s"

# === What the images hold ===

files=$(podman image mount $production) dev_files=$(podman image mount $dev)

holds_only() {
  local folder=$1 wanted=$2 programs
  programs=$(cd "$folder" && find . -type f -perm /111 ! -name '*.so*' | sort | tr '\n' ' ')
  echo "programs: $programs"
  [ "$programs" = "$wanted" ]
  find "$folder" -name '*sh' -o -name 'busybox*' | nothing
}
check "production holds one program, and no shell" holds_only "$files" "./usr/local/bin/patchplane "
check "dev holds patchctl besides, and no shell" holds_only "$dev_files" "./usr/local/bin/patchctl ./usr/local/bin/patchplane "

no_privileged_files() {
  find "$files" "$dev_files" -perm /6000 | nothing
  find "$files" "$dev_files" ! -type l -perm /022 | nothing
  find "$files" "$dev_files" \( ! -uid 0 -o ! -gid 0 \) ! -path '*/var/lib/patchplane' | nothing
}
check "no file is setuid, writable by others or anybody's but root's; the volume alone is" no_privileged_files

check "a shell cannot be run" fails podman run --rm --label "run=$run" --network none --entrypoint /bin/sh $production -c true

described() {
  podman image inspect "$1" | python3 -c '
import json, sys
image = json.load(sys.stdin)[0]
config, labels = image["Config"], image["Labels"]
title, version, revision = sys.argv[1:]
assert config["User"] == "10001:10001", config["User"]
assert config["Entrypoint"] == ["/usr/local/bin/patchplane"], config["Entrypoint"]
assert set(config["ExposedPorts"]) == {"50051/tcp", "9464/tcp"}, config["ExposedPorts"]
assert set(config["Volumes"]) == {"/var/lib/patchplane"}, config["Volumes"]
assert config["StopSignal"] in ("SIGTERM", "15"), config["StopSignal"]
assert image["Healthcheck"]["Test"] == ["CMD", "/usr/local/bin/patchplane", "health"], image["Healthcheck"]
told = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
assert told["title"] == title and told["version"] == version and told["revision"] == revision, told
assert told["licenses"] == "Apache-2.0" and told["description"] and told["source"] and told["created"] > "2", told
' "$2" "$version" "$revision"
}
check "production says what it is, who runs it and how its health is asked" described $production patchplane
check "dev says so, too" described $dev "patchplane (dev)"
check "production's command is serve, with the usual configuration" \
  test "$(podman image inspect --format '{{.Config.Cmd}}' $production)" = "[serve --config /etc/patchplane/patchplane.toml]"

cannot_simulate() {
  grep -q '/_sim/' "$dev_files/usr/local/bin/patchplane"
  fails grep -q '/_sim/' "$files/usr/local/bin/patchplane"
}
check "the simulated account is not in production's program" cannot_simulate

# === What they do ===

confined=(--label "run=$run" --read-only --cap-drop=all --security-opt=no-new-privileges --memory=512m --pids-limit=256)
mkdir -p "$work/config"
cat >"$work/config/patchplane.toml" <<'TOML'
listen = "0.0.0.0:50051"
# Who may come in is for the network to say: callers are not authenticated.
unauthenticated_network = true
store = "/var/lib/patchplane/patchplane.db"
[[locations]]
account = "123456789012"
region = "us-east-1"
[telemetry]
prometheus = "0.0.0.0:9464"
TOML
chmod -R go+rX "$work" && chmod 755 "$work"

refuses_to_simulate() {
  local code
  # Not in the foreground: what a container says that ends at once may not arrive there.
  podman run -d --name "$run-refuses" "${confined[@]}" --network none $production serve --simulated
  code=$(podman wait "$run-refuses")
  podman logs "$run-refuses" 2>&1 | tee "$work/refusal.txt"
  [ $code = 1 ] && grep -q 'feature `simulated`' "$work/refusal.txt"
}
check "production refuses serve --simulated, and says why" refuses_to_simulate

# FILE: in the container as the configuration.
configured() {
  podman run --rm "${confined[@]}" --network none -v "$1:/etc/patchplane/patchplane.toml:ro" $production \
    config check /etc/patchplane/patchplane.toml
}
check "config check works in it" configured "$work/config/patchplane.toml"
for file in docker/config/*.toml docker/kubernetes/base/*.toml docker/kubernetes/overlays/*/*.toml; do
  check "$file is right" configured "$PWD/$file"
done

writes_only_to_its_volume() {
  podman run --rm "${confined[@]}" --network none $production store migrate --store /var/lib/patchplane/x.db
  for place in /x.db /etc/patchplane/x.db /dev/x.db; do
    fails podman run --rm "${confined[@]}" --network none $production store migrate --store $place
  done
}
check "a store can be made on the volume, and nowhere else" writes_only_to_its_volume

simulates_confined() {
  podman run -d --name "$run-tried" "${confined[@]}" --network none $dev >/dev/null
  for _ in $(seq 100); do
    if podman exec "$run-tried" /usr/local/bin/patchplane health; then break; fi
    sleep 0.1
  done
  podman exec "$run-tried" /usr/local/bin/patchctl instances | grep -q web-1
  podman healthcheck run "$run-tried"
  podman rm --force --volumes --time 5 "$run-tried" >/dev/null
}
check "dev simulates an account, as it is started by default" simulates_confined

# The simulated account has the network namespace, with the published ports; the server shares it, and so finds AWS on loopback.
podman volume create --label "run=$run" "$run-store" >/dev/null
podman run -d --name "$run-aws" "${confined[@]}" -p 127.0.0.1::50051 -p 127.0.0.1::4566 -p 127.0.0.1::9464 $dev \
  sim --listen 0.0.0.0:4566 --instances 400 --speed 20 >/dev/null
server=http://$(podman port "$run-aws" 50051/tcp) aws=http://$(podman port "$run-aws" 4566/tcp)
export PATCHPLANE_SERVER=$server PATCHPLANE_ACCOUNT=123456789012 PATCHPLANE_REGION=us-east-1

serve() {
  podman run -d --name "$1" "${confined[@]}" --network "container:$run-aws" -v "$run-store:/var/lib/patchplane" \
    -v "$work/config:/etc/patchplane:ro" -e AWS_ACCESS_KEY_ID=any -e AWS_SECRET_ACCESS_KEY=any $production \
    serve --config /etc/patchplane/patchplane.toml --aws-endpoint-url http://127.0.0.1:4566 --unauthenticated-network
}
health() { "$files/usr/local/bin/patchplane" health --server "$server" "$@"; }
patchctl() { "$dev_files/usr/local/bin/patchctl" "$@"; }
# PATH [BODY]: plays fate at the simulated account.
fate() {
  python3 -c 'import sys, urllib.request as http
print(http.urlopen(sys.argv[1], data="".join(sys.argv[2:]).encode() or None, timeout=60).read().decode())' "$aws/_sim/$1" "${@:2}"
}

serving() {
  for _ in $(seq 300); do
    if health >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  podman logs "$1"
  return 1
}
starts() { serve "$1" && serving "$1"; }

check "production serves through the published port, against the simulated account" starts "$run-1"

is_confined() {
  local status
  status=$(cat "/proc/$(podman inspect --format '{{.State.Pid}}' "$1")/status")
  grep -E '^(Uid|Gid|Cap|NoNewPrivs|Seccomp|Groups)' <<<"$status"
  grep -qE '^Uid:\s+10001\s+10001\s+10001\s+10001$' <<<"$status"
  grep -qE '^Gid:\s+10001\s+10001\s+10001\s+10001$' <<<"$status"
  [ "$(grep -cE '^Cap(Inh|Prm|Eff|Bnd|Amb):\s+0+$' <<<"$status")" = 5 ]
  grep -qE '^NoNewPrivs:\s+1$' <<<"$status"
}
check "its process is user 10001 without any capability, and can gain none" is_confined "$run-1"
check "the health check of the image finds it healthy" podman healthcheck run "$run-1"
on_loopback_only() {
  podman port "$1" | grep ' 127\.0\.0\.1:'
  podman port "$1" | sed '/ 127\.0\.0\.1:/d' | nothing
}
check "its ports are published on loopback alone" on_loopback_only "$run-aws"

services_of_health() {
  health --service liveness
  health --service readiness
}
check "health knows liveness and readiness" services_of_health

walk() {
  local ids
  fate seed '{"nodes": [{"count": 2, "name": "walk", "missing_patches": 3}]}' >"$work/seeded.json"
  mapfile -t ids < <(grep -oE 'i-[0-9a-f]{17}' "$work/seeded.json")
  [ ${#ids[@]} = 2 ]
  patchctl readiness "${ids[@]}"
  patchctl instances >"$work/listed.txt"
  [ "$(wc -l <"$work/listed.txt")" -gt 100 ]
  grep -E "^${ids[0]} +walk-1 +running +Online" "$work/listed.txt"
  patchctl baselines --os AMAZON_LINUX_2 | grep AWS-AmazonLinux2DefaultPatchBaseline
  patchctl baselines clone AWS-AmazonLinux2DefaultPatchBaseline walk-fast --description 'Security after one day' \
    --rule 'CLASSIFICATION=Security; SEVERITY=Critical,Important; after 1 day'
  patchctl groups attach walk walk-fast
  patchctl groups add walk "${ids[@]}" | tee "$work/added.txt"
  [ "$(grep -c ADDED "$work/added.txt")" = 2 ]
  patchctl scan --group walk | grep -E 'Outcome +2 succeeded'
  patchctl install --group walk --reboot if-needed --yes | grep -E 'Outcome +2 succeeded'
  patchctl report --group walk | grep -E '^2 +2 +0 '
  patchctl operations | tee "$work/operations.txt"
  grep -E 'INSTALL +group walk +SUCCEEDED +2 succeeded' "$work/operations.txt"
}
check "the walk with patchctl: a baseline, a group, a scan, an installation, the report" walk

# What the dashboard and the alerts are made for is what is served.
served_metrics() {
  python3 - "http://$(podman port "$run-aws" 9464/tcp)/metrics" docker/prometheus/metrics.txt <<'PYTHON'
import re, sys, urllib.request
known = {}
for line in open(sys.argv[2]):
    if line.strip() and not line.startswith("#"):
        name, kind, *labels = line.split()
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            known[name + suffix] = {"le", "otel_scope_name", *labels}
served = {}
for line in urllib.request.urlopen(sys.argv[1], timeout=30).read().decode().splitlines():
    if found := re.match(r"((?:patchplane|rpc)_\w+)(?:\{(.*)\})? ", line):
        served.setdefault(found[1], set()).update(re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', found[2] or ""))
wrong = [f"{name} is not in metrics.txt" for name in served if name not in known]
wrong += [f"{name} has labels that metrics.txt lacks: {labels - known[name]}" for name, labels in served.items() if name in known and labels - known[name]]
wanted = ["rpc_server_call_duration_seconds_count", "rpc_client_call_duration_seconds_count", "patchplane_store_duration_seconds_count"]
wanted += [f"patchplane_{name}_total" for name in ("operations_started", "operations_ended", "targets_ended", "dispatches")]
wrong += [f"{name} is not served" for name in wanted if name not in served]
sys.exit("\n".join(wrong) or None)
PYTHON
}
check "the metrics of metrics.txt are served, and no others" served_metrics

# === The end, and a new beginning ===

# Everybody scans instances of their own, one after another, and notes what the server acknowledged.
patchctl instances | awk '/ Online / && !/ walk-/ { print $1 }' >"$work/instances.txt"
scan_them() {
  local name
  for instance in $(awk "NR % 4 == $1" "$work/instances.txt"); do
    if [ -e "$work/stopped" ]; then return; fi
    name=$(timeout 20 "$dev_files/usr/local/bin/patchctl" scan --instance "$instance" --no-wait -o json 2>>"$work/load-errors.txt" |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["patchOperation"]["name"])' 2>/dev/null) || continue
    echo "$instance $name" >>"$work/acknowledged.txt"
  done
}
: >"$work/acknowledged.txt"
load=
for loop in 0 1 2 3; do
  scan_them $loop &
  load+=" $!"
done
for _ in $(seq 200); do
  if [ "$(wc -l <"$work/acknowledged.txt")" -ge 16 ]; then break; fi
  sleep 0.1
done
begun=${EPOCHREALTIME/./}
podman stop --time 30 "$run-1" >/dev/null
drained_ms=$(((${EPOCHREALTIME/./} - begun) / 1000))
touch "$work/stopped"
wait $load || true
load=

drained() {
  echo "$(wc -l <"$work/acknowledged.txt") acknowledged; stopped after $drained_ms ms"
  podman logs --tail 5 "$run-1"
  [ "$(podman inspect --format '{{.State.ExitCode}}' "$run-1")" = 0 ]
  [ $drained_ms -lt 25000 ]
  [ "$(wc -l <"$work/acknowledged.txt")" -ge 16 ]
}
check "SIGTERM under load: it drains, and ends with code 0 in time" drained
check "another container takes up the same volume" starts "$run-2"

nothing_lost() {
  local instance name
  while read -r instance name; do
    patchctl operations get "$name" --watch >"$work/operation.txt" 2>&1 </dev/null || { echo "$instance $name"; cat "$work/operation.txt"; return 1; }
    grep -qE '^State +SUCCEEDED' "$work/operation.txt"
  done <"$work/acknowledged.txt"
  fate installs >"$work/installs.json"
  python3 - "$work/acknowledged.txt" "$work/installs.json" <<'PYTHON'
import json, sys
agents = {node["instance_id"]: node for node in json.load(open(sys.argv[2]))["nodes"]}
for line in open(sys.argv[1]):
    instance = line.split()[0]
    assert agents[instance]["scans"] == 1, (instance, agents[instance])
PYTHON
}
check "every operation that was acknowledged is found again, ends well, and was sent once" nothing_lost

# === Figures ===

size() { python3 -c 'import sys; print(f"{int(sys.argv[1]) / 1e6:.1f} MB")' "$(podman image inspect --format '{{.Size}}' "$1")"; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

podman rm --force --volumes --time 30 "$run-1" "$run-2" >/dev/null 2>&1
for _ in $(seq 7); do
  begun=${EPOCHREALTIME/./}
  id=$(serve "$run-timed")
  until health >/dev/null 2>&1; do sleep 0.002; done
  answered=${EPOCHREALTIME/./}
  # The process's own beginning, in hundredths of a second since the machine's.
  ticks=$(awk '{ print $22 }' "/proc/$(podman inspect --format '{{.State.Pid}}' "$id")/stat")
  booted=$(awk '{ printf "%.0f", $1 * 1000000 }' /proc/uptime)
  echo $(((answered - begun) / 1000)) >>"$work/from-podman.txt"
  echo $(((answered - (${EPOCHREALTIME/./} - booted) - ticks * 10000) / 1000)) >>"$work/from-process.txt"
  podman rm --force --volumes --time 30 "$run-timed" >/dev/null
done

if $compose; then . docker/test-compose.sh; fi

cat <<FIGURES

image production      $(size $production)
image dev             $(size $dev)
start to SERVING      $(median <"$work/from-process.txt") ms from the process's start, $(median <"$work/from-podman.txt") ms from podman run (medians of 7)
drain under load      $drained_ms ms, $(wc -l <"$work/acknowledged.txt") operations acknowledged
seconds               $((SECONDS - began))

$passed passed, $failed failed
FIGURES
[ $failed = 0 ]
