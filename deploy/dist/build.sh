#!/usr/bin/env bash
# Build static binaries and pack everything that a release page holds, with checksums:
#
#   deploy/dist/build.sh [FOLDER] [MACHINE...]    # target/packages, for x86_64 and aarch64
#
# Builds in two folders are equal if they use the same commit, compiler and C library.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$(realpath -m "${1:-$target/packages}")
machines=("${@:2}")
[ ${#machines[@]} -gt 0 ] || machines=(x86_64 aarch64)

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
if tags=$(git tag --points-at HEAD 'v*') && [ -n "$tags" ] && ! grep -qx "v$version" <<< "$tags"; then
  echo "the version in Cargo.toml is $version, but this commit is tagged $tags" >&2
  exit 1
fi

bash tests/setup.sh dist "${machines[@]}"
export PATH=$target/dist-tools/bin:$PATH CARGO_TARGET_DIR=$target LC_ALL=C
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
mkdir -p "$folder"
rm -f "$folder"/{celeriac,SHA256SUMS}*

# Names of folders on this machine would end up in the binaries.
cargo_home=$(realpath "${CARGO_HOME:-$HOME/.cargo}")
# Statically linked against glibc, like the container's binary.
flags=(-C target-feature=+crt-static "--remap-path-prefix=$cargo_home=/cargo" "--remap-path-prefix=$PWD=/celeriac"
  "--remap-path-prefix=$target=/target")
export CFLAGS="-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$PWD=/celeriac -ffile-prefix-map=$target=/target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Relocations in the compact form, which saves 0.8 MB. GNU ld supports this on x86-64 only.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS="${flags[*]} -C link-arg=-Wl,-z,pack-relative-relocs"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="${flags[*]}"

# cargo-auditable passes its own path to cargo, which hashes it into the names of symbols. Pass only its name, found in PATH.
cargo=$target/dist-tools/cargo
printf '#!/bin/sh\nexec env -u CARGO RUSTC_WORKSPACE_WRAPPER=cargo-auditable cargo "$@"\n' > "$cargo"
chmod +x "$cargo"

for machine in "${machines[@]}"; do
  triple=$machine-unknown-linux-gnu
  compiler=rustc
  [ -d "$(rustc --print target-libdir --target "$triple")" ] || compiler=$target/rust-debian/rustc
  CARGO=$cargo RUSTC=$compiler cargo-auditable auditable build --locked --profile dist --bin celeriac --target "$triple"
  deploy/dist/pack.sh "$target/$triple/dist/celeriac" "$folder"
done
ls -l "$folder"
