.PHONY: test
test:
	@tests/run

.PHONY: bench
bench:
	@benches/run

# Builds what is published of a version, for this machine, into target/dist (docs/deploy/release.md).
.PHONY: release
release:
	@deploy/release/release

# Measures what a running sidecar executes, for `make release` to compile it by (deploy/release/profile).
.PHONY: profile
profile:
	@deploy/release/profile

# Counts the instructions of the hot path against benches/baseline.json; with WRITE=1, stores them there instead.
.PHONY: bench-quick
bench-quick:
	@$(if $(WRITE),benches/quick.py --write,tests/run bench)

# Fuzzes each target for FUZZ_SECONDS (600 unless set); what it finds stays in target/fuzz.
.PHONY: fuzz
fuzz:
	@fuzz/run

# Two sidecars under mixed traffic and troubles for SOAK_SECONDS (1200 unless set), as SOAK_SEED deals them (by the clock unless
# set); the report is in target/soak/report.md.
.PHONY: soak
soak:
	@SOAK_SECONDS=$${SOAK_SECONDS:-1200} SOAK_SEED=$${SOAK_SEED:-$$(date +%s)} tests/run soak

# The documents as a site, in target/book (or CARGO_TARGET_DIR's), after they have been checked.
.PHONY: book
book:
	@tests/run book

# Takes the pictures of the dashboard for the documents; after `tests/run browser`, which installs what that needs.
.PHONY: pictures
pictures:
	@cargo build --locked
	@$${CARGO_TARGET_DIR:-target}/proof/dashboard/bin/python tests/dashboard/suite.py \
	  --binary $${CARGO_TARGET_DIR:-target}/debug/snaptrade-sidecar --screenshots docs/dashboard

# Changes the code that decides, one place at a time, and tells which changes no test notices.
.PHONY: mutants
mutants:
	@tests/mutants

# Switches off the rules one by one (tests/mutations.toml), and tells which seed of the simulation notices.
.PHONY: mutations
mutations:
	@tests/mutations.py
