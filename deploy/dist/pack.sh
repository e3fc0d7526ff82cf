#!/usr/bin/env bash
# Pack a binary, which may be one for another machine, in every format of a release page:
#
#   deploy/dist/pack.sh BINARY [FOLDER]
#
# The output depends on the binary, the repository and SOURCE_DATE_EPOCH (the time of the last commit) only. Needs the
# packages and the maturin that tests/setup.sh installs.
set -euo pipefail
binary=$(realpath "${1:?usage: $0 BINARY [FOLDER]}")
mkdir -p "${2:-.}"
folder=$(realpath "${2:-.}")
here=$(realpath "$(dirname "$0")")
cd "$here/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
machine=$(LC_ALL=C readelf -h "$binary" | sed -n 's/^ *Machine: *//p')
case "$machine" in
  *X86-64) machine=x86_64 debian=amd64 ;;
  AArch64) machine=aarch64 debian=arm64 ;;
  *) echo "$binary: unknown machine: $machine" >&2; exit 1 ;;
esac
name=celeriac-$version-linux-$machine
export LC_ALL=C SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# Files with fixed times, owners and order, named FOLDER/… in the archive.
archive() {
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$(dirname "$1")" "$(basename "$1")" | gzip -9n
}

# Split off the debug symbols. gdb and addr2line find them by the name that the binary keeps.
objcopy=$machine-linux-gnu-objcopy
"$objcopy" --only-keep-debug --compress-debug-sections "$binary" "$folder/$name.debug"
chmod 644 "$folder/$name.debug"
"$objcopy" --strip-all --add-gnu-debuglink="$folder/$name.debug" "$binary" "$work/celeriac"

root=$work/$name
install -D -m 755 "$work/celeriac" "$root/celeriac"
install -m 644 -t "$root" LICENSE README.md CHANGELOG.md config/example.yaml deploy/systemd/celeriac.service
cp -r deploy/completions deploy/man "$root"
archive "$root" > "$folder/$name.tar.gz"

deb=$(DEB_HOST_ARCH=$debian DEB_BUILD_OPTIONS=nostrip deploy/debian/build.sh "$work/celeriac" "$folder")

# The .rpm holds the files of the .deb.
dpkg-deb --extract "$deb" "$work/deb"
rpmbuild -bb --quiet --target "$machine-linux" --define "_topdir $work/rpm" --define "_rpmdir $folder" \
  --define "version $version" --define "tree $work/deb" --define "payload ${RPM_PAYLOAD:-w19.zstdio}" \
  deploy/dist/celeriac.spec > "$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

# maturin packs only what cargo has just built. Give it a cargo that reports this binary, so that the wheel holds the same file
# as the other packages. It also hides where the repository is, because maturin lists all crates as an SBOM in the wheel.
package=$(cargo pkgid --locked celeriac)
place=${package%%#*}
message=$(tr -d '\n' <<MESSAGE
{"reason": "compiler-artifact", "package_id": "$package", "manifest_path": "", "features": [],
 "target": {"name": "celeriac", "kind": ["bin"], "crate_types": ["bin"], "src_path": ""},
 "profile": {"opt_level": "3", "debug_assertions": false, "overflow_checks": false, "test": false},
 "filenames": ["$work/celeriac"], "executable": "$work/celeriac", "fresh": true}
MESSAGE
)
mkdir "$work/bin"
cat > "$work/bin/cargo" <<CARGO
#!/bin/sh
if [ "\$1" = rustc ]; then echo '$message'; else "$(command -v cargo)" "\$@"; fi |
  # cargo leaves out the name if the folder has the same one.
  sed 's|$place#$version|path+file:///celeriac#celeriac@$version|g; s|$place|path+file:///celeriac|g'
CARGO
chmod +x "$work/bin/cargo"
(cd "$here" && PATH=$work/bin:$PATH CARGO=$work/bin/cargo CARGO_TARGET_DIR=$work/target \
  "$target/venvs/maturin/bin/maturin" build --quiet --target "$machine-unknown-linux-gnu" --out "$work/wheel" \
  > "$work/log" 2>&1) || { cat "$work/log" >&2; exit 1; }
python3 -m zipfile -e "$work"/wheel/*.whl "$work/unpacked"
install -m 644 -t "$folder" "$work"/wheel/*.whl
install -m 644 "$work"/unpacked/*.dist-info/sboms/celeriac.cyclonedx.json "$folder/$name.cdx.json"

mkdir "$work/chart"
cp -r deploy/helm/celeriac "$work/chart"
archive "$work/chart/celeriac" > "$folder/celeriac-$version.tgz"
(cd "$folder" && sha256sum celeriac* > SHA256SUMS)
