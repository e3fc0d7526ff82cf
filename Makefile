# Targets for developers and CI. Each installs what it needs.

.PHONY: setup hooks lint test chaos docs deploy bench race race-picture picture demo dist release

setup:
	bash tests/setup.sh

# Check commit messages as you write them. An existing hook of yours is kept.
hooks:
	@hook="$$(git rev-parse --git-path hooks)/commit-msg"; mkdir -p "$${hook%/*}"; \
	text='[ ! -x tests/commit-msg ] || exec tests/commit-msg "$$1"'; \
	if [ -e "$$hook" ] && ! grep -qF "$$text" "$$hook"; then \
		echo "$$hook exists; add this line to it: $$text" >&2; exit 1; fi; \
	[ -e "$$hook" ] || printf '#!/bin/sh\n%s\n' "$$text" >"$$hook"; chmod +x "$$hook"

# `cargo deny` runs only if it is installed (`cargo install cargo-deny`).
lint:
	python3 tests/strings.py --check
	python3 tests/commit-msg --history
	cargo fmt --check
	cargo clippy --locked --all-targets --features sigv4 -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check bans licenses sources; \
	else echo "cargo deny is not installed: licenses and sources were not checked"; fi

# nextest, if installed, runs each test in its own process and several at a time. Tests run with all features;
# packaging::container covers the build without any.
test: setup
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked --features sigv4; \
	else tests/plain.sh; fi

# Random faults under load, for CHAOS_SECONDS (300). The seed is printed first; set CHAOS_SEED to repeat a run.
chaos: setup
	CHAOS_SECONDS=$${CHAOS_SECONDS:-300} cargo test --locked --test it chaos -- --nocapture --test-threads=1

# Generate the metric and configuration references, man pages and completions from the code.
docs:
	UPDATE_DOCS=1 cargo test --locked --test it -- reference:: packaging::generated::

# Copy dashboards and rules from deploy/grafana and deploy/prometheus for Helm and kustomize.
deploy:
	UPDATE_DEPLOY=1 cargo test --locked --test it deploy::copies::are_equal

# Measure the performance budgets: decode and apply, and snapshots to requests, in process; both sources end to end on real
# brokers; and total memory and disk usage.
bench: setup
	cargo bench --locked --bench pipeline
	cargo bench --locked --bench wire
	cargo bench --locked --bench sources
	cargo bench --locked --bench sizing

# Race celeriac as released against other exporters and agents on this machine, in a quarter of an hour after a build of
# ten minutes. Adds the values to target/race.json.
race: setup
	cargo bench --locked --profile dist --bench race

# Draw the picture and write the tables in docs/performance.md from the last race.
race-picture:
	$${CARGO_TARGET_DIR:-target}/venvs/drawing/bin/python tests/race.py

# Draw the picture in the README from the demo. Needs Chromium.
picture:
	tests/picture.sh

demo:
	cargo run --locked --profile quick -- demo

# Build everything that a release page holds, in target/packages. MACHINES=x86_64 builds for one machine only.
dist:
	deploy/dist/build.sh $${CARGO_TARGET_DIR:-target}/packages $(MACHINES)

# Publish target/packages as the release of a tag, which must exist.
release:
	gh release create --verify-tag --generate-notes $(TAG) $${CARGO_TARGET_DIR:-target}/packages/*
