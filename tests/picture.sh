#!/usr/bin/env bash
# Draw the picture in the README: the status page of the demo, after two and a half minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --locked --profile quick --bin celeriac
folder=$(mktemp -d)
address=127.0.0.1:19808
"${CARGO_TARGET_DIR:-target}/quick/celeriac" demo --listen "$address" > "$folder/log" &
demo=$!
trap 'kill "$demo"; rm -rf "$folder"' EXIT
sleep 150
# Live updates keep the page busy, which some versions wait for.
timeout 60 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1600,1240 \
  --user-data-dir="$folder/profile" --screenshot="$folder/page.png" "http://$address/" > /dev/null 2>&1 || true
cp "$folder/page.png" docs/images/status-page.png
