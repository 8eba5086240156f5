# Producers: `genserver serve`, without TensorFlow. In the repository's root:
#
#   docker build -f docker/producer.Dockerfile --target producer -t genserver-producer .
#
# BASE is any image with Python 3.11 or later and its venv module, on both sides of the build.
ARG BASE=python:3.11-slim

# What is needed to install stays in this stage.
FROM ${BASE} AS build
# Where an index of your own, a proxy or a certificate is needed, give them as the secrets pip_conf
# and pip_ca: they are there while pip runs, and in no layer.
ENV PIP_CONFIG_FILE=/run/secrets/pip_conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/build/constraints.txt
WORKDIR /build
RUN python3 -m venv /opt/genserver
# Further packages for your generator, as pip takes them, e.g. "scipy pydicom".
ARG REQUIREMENTS=""
# Dependencies are a layer of their own, made again only when one of these two files changes.
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=pip_ca \
    python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["reload"], sep="\n")' > needed.txt && \
    /opt/genserver/bin/pip install -r needed.txt ${REQUIREMENTS}
COPY README.md ./
COPY protocol protocol
COPY server server
COPY client client
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=pip_ca \
    /opt/genserver/bin/pip install --no-deps . && \
    /opt/genserver/bin/pip uninstall --yes pip setuptools

FROM ${BASE} AS producer
# A number, so that the owner of a mounted secret can be set from outside.
RUN groupadd --gid 10001 genserver && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin genserver
COPY --from=build /opt/genserver /opt/genserver
ENV PATH=/opt/genserver/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
WORKDIR /code
USER 10001:10001
EXPOSE 5555
# Process 1 is the supervisor: it passes signals on and reaps, so that no --init is needed.
ENTRYPOINT ["genserver", "serve"]
CMD ["--help"]

# The same with your generator in it: CODE is its file or folder in the repository.
FROM producer AS code
ARG CODE=examples/mri
COPY ${CODE} ./
CMD ["named:cubes", "--bind", "tcp://0.0.0.0:5555"]
