# The image: the sidecar as process 1, OpenCode beside it, git and ripgrep for the agent, and little else.
# docs/IMAGE.md says what it weighs, how that was measured, and why it is as it is. `make image` builds it.
#
# A base is an image and a digest. The digests are empty here: a digest is known only to who can ask a
# registry, and none is invented. Who publishes gives them: --build-arg DEBIAN_DIGEST=sha256:… and so on
# (docs/IMAGE.md, "Pinning").
#
# No `# syntax` line, on purpose: it would fetch one more image that nobody has pinned, and nothing here
# needs more than what BuildKit and buildah understand by themselves.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm
ARG RUST_DIGEST=
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim
ARG NODE_DIGEST=
ARG DEBIAN_IMAGE=docker.io/library/debian:bookworm-slim
ARG DEBIAN_DIGEST=

# --- the sidecar -------------------------------------------------------------------------------------
FROM ${RUST_IMAGE}${RUST_DIGEST:+@${RUST_DIGEST}} AS build
# The builder knows the platform. A default here would win over what it knows.
ARG TARGETARCH
ENV CARGO_HOME=/usr/local/cargo
WORKDIR /src
# The scripted engine and the benchmarks are not built; Cargo only wants the files it names to be there.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY tests/stubs tests/stubs
COPY benches benches
COPY src src
COPY tools/image/build tools/image/build
RUN --mount=type=cache,id=sidecar-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=sidecar-target,target=/target,sharing=locked \
    sh tools/image/build /out

# --- OpenCode ----------------------------------------------------------------------------------------
FROM ${NODE_IMAGE}${NODE_DIGEST:+@${NODE_DIGEST}} AS opencode
ARG TARGETARCH
ARG OPENCODE_VERSION=1.18.33
WORKDIR /opencode
COPY tools/opencode/package-lock.json tools/image/opencode.mjs ./
RUN node opencode.mjs "${TARGETARCH:-$(dpkg --print-architecture)}" "${OPENCODE_VERSION}" /out

# --- Debian, with what the agent needs ---------------------------------------------------------------
FROM ${DEBIAN_IMAGE}${DEBIAN_DIGEST:+@${DEBIAN_DIGEST}} AS system
# The day of the packages. Another day is another layer; without it the first one would be kept for ever.
ARG APT_DATE=
COPY tools/image/system /tmp/system
RUN echo "packages of ${APT_DATE:-no day that was given}" && sh /tmp/system && rm /tmp/system

# --- what is in it, and under which licences ---------------------------------------------------------
FROM ${NODE_IMAGE}${NODE_DIGEST:+@${NODE_DIGEST}} AS papers
COPY --from=build /out /in/rust
COPY --from=opencode /out/opencode.json /in/
COPY --from=system /var/lib/dpkg/status /etc/debian_version /in/debian/
COPY --from=system /usr/share/doc /in/debian/doc
COPY Cargo.lock LICENSE /in/rust/
COPY tools/image/papers.mjs tools/image/opencode.LICENSE /in/
RUN node /in/papers.mjs /in /out

# `--target bill` gives the same two files without an image around them.
FROM scratch AS bill
COPY --from=papers /out /

# --- the image ---------------------------------------------------------------------------------------
FROM system AS image
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG OPENCODE_VERSION=1.18.33
ARG DEBIAN_IMAGE
ARG DEBIAN_DIGEST
LABEL org.opencontainers.image.title="opencode-sidecar" \
      org.opencontainers.image.description="A Kubernetes sidecar that turns OpenCode, the AI coding agent, into a dependable service" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${DEBIAN_IMAGE}" \
      org.opencontainers.image.base.digest="${DEBIAN_DIGEST}" \
      opencode.version="${OPENCODE_VERSION}"
COPY --from=papers /out /usr/share/doc/opencode-sidecar
# Root's, and 0711: a program its user cannot read is undumpable, which closes its /proc entries to the
# agent's tools. docs/SECURITY.md has the whole reason. Never strip OpenCode: its program is behind the ELF.
COPY --from=opencode --chmod=0711 /out/opencode /usr/local/bin/opencode
COPY --from=build --chmod=0711 /out/opencode-sidecar /usr/local/bin/opencode-sidecar
# No VOLUME: where these three come from is for the pod to say, and an anonymous volume has no limit.
ENV WORKSPACE_DIR=/workspace DATA_DIR=/var/lib/opencode-sidecar OPENCODE_BIN=/usr/local/bin/opencode LANG=C.UTF-8
WORKDIR /workspace
USER 10001:10001
EXPOSE 3003
STOPSIGNAL SIGTERM
# For Docker and podman. Kubernetes ignores it and asks /healthz and /ready.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/opencode-sidecar", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/opencode-sidecar"]
