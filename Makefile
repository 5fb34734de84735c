# The commands of this project. `make run` and `make test` need git, make, sh and some Python 3; they set up the rest.
SETUP := sh costobs/embedded/bootstrap.sh

.DEFAULT_GOAL := help
.PHONY: help setup run test lint format bench screens vendor test-serving test-gcp compose-check

help: ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## find or install uv and a Python, and sync the environment
	@$(SETUP)

run: ## start everything on this machine with a sample organisation; Ctrl-C stops it
	@$(SETUP) costobs up

test: ## set up what the tests need, then run every check and every test
	@$(SETUP) python -m tests.run

lint: ## every check except the tests
	@$(SETUP) python -m tests.run lint

format: ## put the code into shape
	@$(SETUP) sh -c 'ruff check --fix . ; ruff format .'

bench: ## measure loading, the books, rules and pages (bench/)
	@$(SETUP) sh -c 'python -m bench.ingest && python -m bench.cur && python -m bench.books && python -m bench.rules && python -m bench.pages'

screens: ## remake the screenshots under docs/screens
	@$(SETUP) python docs/screens/shoot.py

vendor: ## fetch and check the vendored browser files
	@$(SETUP) python static/vendor/collect.py

test-serving: ## a real vLLM on CPU behind the gate (large download; see docs/serving.md)
	@$(SETUP) python -m tests.serving.run

test-gcp: ## read a billing export from an emulated BigQuery (100 MB download)
	@$(SETUP) python -m tests.gcp.run

compose-check: ## check docker-compose.yml
	@docker compose config --quiet
