.PHONY: test
test:
	@tests/run

.PHONY: bench
bench:
	@benches/run

# Counts the instructions of the hot path against benches/baseline.json; with WRITE=1, stores them there instead.
.PHONY: bench-quick
bench-quick:
	@$(if $(WRITE),benches/quick.py --write,tests/run bench)
