.PHONY: test
test:
	@tests/run
