.PHONY: test
test:
	@tests/run

.PHONY: bench
bench:
	@benches/run
