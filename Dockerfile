# syntax=docker/dockerfile:1

# The builder's C library has to be the one of the final image: both are Debian 13.
FROM rust:1.95-slim-trixie AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY config config
COPY src src
# What an earlier build downloaded and compiled stays in the caches, so that a change in src/ compiles src/ alone.
# That it compiles at all is up to the files' times, and those of an older commit can be older than the cache.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target,sharing=locked \
    find src -type f -exec touch {} + \
    && cargo build --release --locked --bin snaptrade-sidecar \
    && install -D -m 0755 target/release/snaptrade-sidecar /out/snaptrade-sidecar \
    && install -d -m 0700 /out/data

# The C library and nothing else: no shell, no package manager. The roots of TLS are in the program.
FROM gcr.io/distroless/cc-debian13:nonroot
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="snaptrade-sidecar" \
      org.opencontainers.image.description="A sidecar reverse proxy that keeps a SnapTrade API key under its user limit" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/snaptrade-sidecar /snaptrade-sidecar
# For a SQLite registry. A volume that is mounted there while it is new takes over the owner.
COPY --from=build --chown=65532:65532 /out/data /data

# PORT rather than the listen address: a platform that sets PORT, and an operator who sets
# SNAPTRADE_SIDECAR__PROXY__LISTEN, both still have the last word.
ENV PORT=8080 \
    SNAPTRADE_SIDECAR__OPS__LISTEN=0.0.0.0:9090
EXPOSE 8080 9090

# By number, so that `runAsNonRoot` can be checked without looking into the image.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/snaptrade-sidecar", "health"]
# A stop drains for up to 25 s by default: give it that long, as in `docker stop --time 30`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/snaptrade-sidecar"]
CMD ["serve"]
