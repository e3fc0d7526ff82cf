#!/usr/bin/env bash
# Run the tests without nextest, in about the same time: three processes take the groups of .config/nextest.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
test=(cargo test --locked --features sigv4)
heavy=(attacks:: flood:: workload:: compat:: malformed:: chaos:: durability::kills dashboards::every_panel twenty_thousand
  packaging::container packaging::dist)
lasting=(survival::)
# Measures the memory of its own process, and nextest gives each test one anyway.
heavy+=(control::many)
skipped=()
for name in "${heavy[@]}" "${lasting[@]}"; do skipped+=(--skip "$name"); done

"${test[@]}" --no-run
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT
"${test[@]}" --test it -- --test-threads=1 "${heavy[@]}" > "$reports/heavy" 2>&1 & first=$!
"${test[@]}" --test it -- --test-threads=1 "${lasting[@]}" > "$reports/lasting" 2>&1 & second=$!
status=0
"${test[@]}" --no-fail-fast -- --test-threads=5 "${skipped[@]}" || status=$?
wait $first || status=$?
wait $second || status=$?
cat "$reports/heavy" "$reports/lasting"
exit $status
