#!/usr/bin/env bash
# Create a Debian package from an existing binary with dpkg's tools (dpkg-dev, binutils), and print its path:
#
#   cargo build --release --locked
#   deploy/debian/build.sh target/release/celeriac [FOLDER]
#
# As for Debian's other tools, DEBFULLNAME and DEBEMAIL set the maintainer, DEB_HOST_ARCH is the architecture of a binary for
# another machine, and DEB_BUILD_OPTIONS=nostrip leaves the binary as it is.
set -euo pipefail
binary=$(realpath "${1:?usage: $0 BINARY [FOLDER]}")
folder=$(realpath "${2:-.}")
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
version=$version-1
maintainer="${DEBFULLNAME:-celeriac} <${DEBEMAIL:-celeriac@localhost}>"
architecture=${DEB_HOST_ARCH:-$(dpkg --print-architecture)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
umask 022

install -D -m 755 "$binary" "$root/usr/bin/celeriac"
# Keep function names for profiles and backtraces.
[[ ${DEB_BUILD_OPTIONS:-} == *nostrip* ]] ||
  strip --strip-debug --remove-section=.comment --remove-section=.note "$root/usr/bin/celeriac"
install -D -m 644 deploy/systemd/celeriac.service "$root/usr/lib/systemd/system/celeriac.service"
install -D -m 644 deploy/debian/celeriac.yaml "$root/etc/celeriac/celeriac.yaml"
install -d -m 700 "$root/etc/celeriac/credentials"
install -D -m 644 deploy/completions/celeriac.bash "$root/usr/share/bash-completion/completions/celeriac"
install -D -m 644 deploy/completions/_celeriac "$root/usr/share/zsh/vendor-completions/_celeriac"
install -D -m 644 deploy/completions/celeriac.fish "$root/usr/share/fish/vendor_completions.d/celeriac.fish"
for page in deploy/man/*.1; do
  install -D -m 644 "$page" "$root/usr/share/man/man1/$(basename "$page")"
done
install -D -m 644 deploy/debian/copyright "$root/usr/share/doc/celeriac/copyright"
install -D -m 644 deploy/debian/lintian-overrides "$root/usr/share/lintian/overrides/celeriac"
install -m 644 config/example.yaml "$root/usr/share/doc/celeriac/example.yaml"
install -m 644 CHANGELOG.md "$root/usr/share/doc/celeriac/changelog"
cat > "$root/usr/share/doc/celeriac/changelog.Debian" <<CHANGES
celeriac ($version) unstable; urgency=medium

  * What has changed is in changelog.gz.

 -- $maintainer  $(LC_ALL=C date -R -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}")
CHANGES
gzip -9n "$root"/usr/share/doc/celeriac/changelog{,.Debian} "$root"/usr/share/man/man1/*.1

# Find the library packages it depends on. dpkg-shlibdeps expects a source package.
mkdir -p "$work/debian"
printf 'Source: celeriac\n\nPackage: celeriac\nArchitecture: any\n' > "$work/debian/control"
libraries=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info root/usr/bin/celeriac 2>/dev/null |
  sed -n 's/^shlibs:Depends=//p')

mkdir "$root/DEBIAN"
cat > "$root/DEBIAN/control" <<CONTROL
Package: celeriac
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' -o -printf '1\n' |
  awk '{ total += int(($1 + 1023) / 1024) } END { print total }')
Depends: ${libraries:+$libraries, }procps
Recommends: ca-certificates
Breaks: systemd (<< 250)
Section: net
Priority: optional
Description: Celery's events as Prometheus series
 A daemon that reads the monitoring events of Celery straight from RabbitMQ or
 Redis, keeps them as time series, and pushes these by remote write to
 Prometheus, Thanos, Mimir or VictoriaMetrics, or shows them to be scraped.
CONTROL
echo /etc/celeriac/celeriac.yaml > "$root/DEBIAN/conffiles"
install -m 755 deploy/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f ! -path './etc/*' -printf '%P\0' |
  LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums)

package=$folder/celeriac_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" > /dev/null
echo "$package"
