# Two commands matter: `make run` and `make test`. `make help` lists the rest.
SHELL := bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

OPENCODE := tools/opencode/node_modules/.installed

.PHONY: help run picture test test-api test-clients check manifests bench soak soak-sessions soak-aborts chaos attacks deny opencode image image-smoke image-measure image-bill image-clean clean

help: ## List the targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Every day

run: opencode ## Build and serve on port 3003, with ./workspace and ./data
	mkdir -p workspace data
	cargo build --release --quiet --bin opencode-sidecar
	HOST=$${HOST:-127.0.0.1} WORKSPACE_DIR=$${WORKSPACE_DIR:-workspace} DATA_DIR=$${DATA_DIR:-data} ANNOUNCE=$${ANNOUNCE:-text} DEMO_MODEL=$${DEMO_MODEL:-on} \
		exec target/release/opencode-sidecar

test: opencode ## Run all tests, those with the real OpenCode too
	tools/test-needs
	cargo nextest run --locked

check: ## Formatting, lints, documentation, dependency policy: warnings are errors
	tools/check-needs
	cargo fmt --check
	tools/image/lint
	cargo clippy --locked -- -D warnings
	cargo clippy --locked --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features --document-private-items --quiet

##@ More tests

test-api: ## Try the API as its description says, and as it does not (Schemathesis)
	tools/api/run

test-clients: opencode ## Sessions over streams and WebSockets, with Chromium (behind nginx too), curl, Go, Python and npm clients
	tools/clients/run

##@ Things that are made

picture: opencode ## Make docs/console.png again, which the README begins with (needs Chromium)
	tools/test-needs
	cargo build --locked --quiet --bin opencode-sidecar
	node tools/console/picture.mjs target/debug/opencode-sidecar docs/console.png

manifests: ## Render deploy/ again (needs kubectl)
	tools/manifests/render

##@ Measurements and long runs

bench: opencode ## Measure what we claim; prints figures and how they were taken
	cargo bench --locked --quiet --features bench

soak: ## 1 000 kills of the child (the tests do 40)
	SOAK_ROUNDS=1000 cargo nextest run --locked -E 'test(soak_of_kills)'

soak-sessions: ## 5 000 sessions, short ones: memory, descriptors, threads and disk stay flat (the tests do 150)
	SOAK_SESSIONS=$${SOAK_SESSIONS:-5000} cargo nextest run --locked --profile long --no-capture -E 'test(a_soak_of_sessions)'

soak-aborts: opencode ## 50 fresh children whose first session is aborted at once (the tests do 4)
	ABORT_ROUNDS=$${ABORT_ROUNDS:-50} cargo nextest run --locked --profile long --no-capture -E 'test(a_first_session_may_be_aborted)'

chaos: opencode ## 100 rounds of kills, full disks and cut connections, and what clients saw compared with what is kept (the tests do 3)
	CHAOS_ROUNDS=$${CHAOS_ROUNDS:-100} cargo nextest run --locked --profile long --no-capture -E 'test(whatever_is_killed)'

attacks: opencode ## Every attack of a hostile agent in all eight places (the tests play each in four of them)
	ATTACK= cargo nextest run --locked --profile long -E 'test(/^attacks::/)'

##@ Once in a while

deny: ## cargo-deny, installed on first use (minutes)
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check

opencode: $(OPENCODE) ## Install the pinned OpenCode into tools/opencode

$(OPENCODE): tools/opencode/package.json tools/opencode/package-lock.json
	tools/opencode/install
	touch $@

clean: ## Remove what was built and installed
	cargo clean
	rm -rf tools/opencode/node_modules tools/manifests/venv tools/examples/venv tools/traces/venv examples/browser/node_modules workspace data bill

##@ The image (needs root)

image: ## Build the image with buildah; bases are made here where no registry is reached (root)
	tools/image/make

image-smoke: ## Try that image in real containers, and as a Pod (root, podman)
	tools/image/needs
	tools/image/smoke
	tools/image/check-bill
	for file in tools/image/pod.yaml deploy/rendered/{base,project-pod,backend}.yaml; do tools/image/smoke --pod "$$file"; done

image-measure: ## Measure that image: start, memory, five sessions in 1 GiB (15 minutes)
	tools/image/needs
	tools/image/measure

image-bill: ## Only its bill of materials and licences, into ./bill
	tools/image/make bill bill

image-clean: ## Remove that image and the stand-ins for its bases (root)
	tools/image/clean
