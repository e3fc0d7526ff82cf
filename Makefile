# What a developer, and CI, need: each target installs what it misses.

.PHONY: setup lint test chaos docs deploy bench demo

setup:
	bash tests/setup.sh

# `cargo deny` where it is installed: `cargo install cargo-deny` brings it.
lint:
	cargo fmt --check
	cargo clippy --locked -- -D warnings
	cargo clippy --locked --all-targets --features sigv4 -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check bans licenses sources; \
	else echo "cargo deny is not installed: licences and sources were not checked"; fi

# nextest where it is there: it runs each test in a process of its own, and several at a time. With every feature; what
# is built without any, packaging::container looks at.
test: setup
	@if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked --features sigv4; \
	else cargo test --locked --features sigv4 -- --test-threads=2; fi

# Faults at random under load, for CHAOS_SECONDS (300); the seed is printed first, and CHAOS_SEED does the same again.
chaos: setup
	CHAOS_SECONDS=$${CHAOS_SECONDS:-300} cargo test --locked --test it chaos -- --nocapture --test-threads=1

# The references of metrics and of keys, man pages and completions, from the code.
docs:
	UPDATE_DOCS=1 cargo test --locked --test it -- reference:: packaging::generated::

# The copies of dashboards and rules that Helm and kustomize need, from deploy/grafana and deploy/prometheus.
deploy:
	UPDATE_DEPLOY=1 cargo test --locked --test it deploy::copies::are_equal

# The budgets: decode and apply, and snapshots to requests, in process; both sources end to end on real brokers, and what all of it
# takes of memory and disk.
bench: setup
	cargo bench --locked --bench pipeline
	cargo bench --locked --bench wire
	cargo bench --locked --bench sources
	cargo bench --locked --bench sizing

demo:
	cargo run --locked --release -- demo
