#!/usr/bin/env bash
# Installs what the tests need and is missing: Debian's servers, Celery in two versions, and a Prometheus 3 from a
# newer Debian suite, unpacked below target/ and installed nowhere. Doing it again changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

packages=(rabbitmq-server redis-server prometheus python3-venv)
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

# Celery, each version with the kombu of its time. kombu 5.7.0 needs `packaging` for Redis and does not say so.
# msgpack and pyyaml are two of its serializers. What an environment was made of stands in it, so that one from another
# list is completed.
venv() {
  local folder=$target/venvs/$1
  shift
  [ "$(cat "$folder/.complete" 2>/dev/null)" = "$*" ] && return
  echo "making $folder"
  # One that was not made to its end begins anew.
  [ -e "$folder/.complete" ] || rm -rf "$folder"
  [ -e "$folder" ] || python3 -m venv "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$folder/.complete"
}
venv celery-5.6 'celery==5.6.3' 'kombu==5.6.2' redis gevent packaging msgpack pyyaml
venv celery-5.7 'celery==5.7.0' 'kombu==5.7.0' redis gevent packaging msgpack pyyaml

# Prometheus 3: not in Debian's stable suite yet. The archive is the one that this machine uses anyway.
prometheus=$target/prometheus-3
if ! [ -e "$prometheus/.complete" ]; then
  echo "unpacking Prometheus 3 into $prometheus"
  find_archive() {
    apt-get indextargets --format '$(ORIGIN)|$(IDENTIFIER)|$(LABEL)|$(REPO_URI)' |
      awk -F'|' '$1 == "Debian" && $2 == "Packages" && $3 == "Debian" { print $4; exit }'
  }
  archive=$(find_archive)
  if [ -z "$archive" ]; then
    # Images often come without the package lists, which say where they are from.
    "${as_root[@]}" apt-get update -qq
    archive=$(find_archive)
  fi
  state=$prometheus/apt
  rm -rf "$prometheus"
  mkdir -p "$state"/{lists/partial,cache/archives/partial}
  keys=/usr/share/keyrings/debian-archive-keyring.gpg
  echo "deb [signed-by=$keys] $archive forky main" > "$state/sources.list"
  options=(-qq -o "Dir::Etc::SourceList=$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o Acquire::Languages=none
    -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$prometheus" && apt-get "${options[@]}" download prometheus)
  dpkg-deb -x "$prometheus"/prometheus_3*.deb "$prometheus"
  rm -rf "$state" "$prometheus"/*.deb
  touch "$prometheus/.complete"
fi
