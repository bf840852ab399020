# The iii engine in an image without shell or package manager: Python, the engine, nothing else.
#
#     docker build -t iii:local .
#     docker run -p 3111:3111 -p 49134:49134 -v ./config.yaml:/app/config.yaml:ro iii:local
#
# docs/deployment.md describes it; `make test-image` executes these steps without Docker.
ARG BASE=debian:bookworm-slim

# The engine, installed into /opt/iii.
FROM ${BASE} AS build
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/iii
WORKDIR /src
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY iii ./iii
COPY twisted ./twisted
RUN /opt/iii/bin/pip install --quiet --no-cache-dir --disable-pip-version-check . \
    && /opt/iii/bin/pip uninstall --quiet --yes --disable-pip-version-check setuptools pip \
    && python3 -m compileall -q /opt/iii/lib

# The files of the packages that Python needs, and two users, as a root of their own.
FROM ${BASE} AS root
WORKDIR /tmp/packages
RUN apt-get update -qq \
    && apt-get download -qq \
        base-files ca-certificates libbz2-1.0 libc6 libcrypt1 libexpat1 libffi8 libgcc-s1 \
        liblzma5 libnsl2 libpython3.11-minimal libpython3.11-stdlib libsqlite3-0 libssl3 \
        libstdc++6 libtirpc3 libuuid1 netbase python3-minimal python3.11-minimal tzdata zlib1g \
    && for package in *.deb; do dpkg-deb -x "$package" /root-of-image; done \
    && apt-get install -y -qq --no-install-recommends ca-certificates python3-minimal \
    && cp -a /etc/ssl/certs /root-of-image/etc/ssl/ \
    && python3 -c 'import compileall; compileall.compile_dir("/root-of-image/usr/lib/python3.11", quiet=1, stripdir="/root-of-image")' \
    && rm -rf /root-of-image/usr/share/doc /root-of-image/usr/share/man /root-of-image/usr/share/lintian \
    && rm -rf /var/lib/apt/lists/*
RUN printf 'root:x:0:0:root:/root:/sbin/nologin\niii:x:65532:65532:iii:/app:/sbin/nologin\n' \
        > /root-of-image/etc/passwd \
    && printf 'root:x:0:\niii:x:65532:\n' > /root-of-image/etc/group \
    && mkdir -p /root-of-image/app/data /root-of-image/tmp \
    && chmod 1777 /root-of-image/tmp \
    && chown -R 65532:65532 /root-of-image/app/data

FROM scratch
COPY --from=root /root-of-image /
COPY --from=build /opt/iii /opt/iii
COPY config.yaml /app/config.yaml
WORKDIR /app

# Ports of a container are reached through `-p`, so everything listens on all its addresses.
ENV PATH=/opt/iii/bin:/usr/bin \
    III_HOST=0.0.0.0 \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
EXPOSE 49134 3111 3112 9464
VOLUME ["/app/data"]
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["iii", "health"]
ENTRYPOINT ["iii"]
CMD ["--config", "/app/config.yaml"]
