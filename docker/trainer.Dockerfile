# Trainers: genserver's client and TensorFlow. In the repository's root:
#
#   docker build -f docker/trainer.Dockerfile -t genserver-trainer .
#
# BASE, pip_conf and pip_ca are as in producer.Dockerfile.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_CONFIG_FILE=/run/secrets/pip_conf PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/build/constraints.txt
WORKDIR /build
RUN python3 -m venv /opt/genserver
# Further packages for your trainer, as pip takes them.
ARG REQUIREMENTS=""
COPY pyproject.toml constraints.txt ./
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=pip_ca \
    python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *p["optional-dependencies"]["tensorflow"], sep="\n")' > needed.txt && \
    /opt/genserver/bin/pip install -r needed.txt ${REQUIREMENTS}
COPY README.md ./
COPY protocol protocol
COPY server server
COPY client client
RUN --mount=type=secret,id=pip_conf --mount=type=secret,id=pip_ca \
    /opt/genserver/bin/pip install --no-deps . && \
    /opt/genserver/bin/pip uninstall --yes pip setuptools

FROM ${BASE} AS trainer
RUN groupadd --gid 10001 genserver && \
    useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin genserver
COPY --from=build /opt/genserver /opt/genserver
ENV PATH=/opt/genserver/bin:${PATH} PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    TF_CPP_MIN_LOG_LEVEL=2
ARG CODE=examples/mri
WORKDIR /code
COPY ${CODE} ./
USER 10001:10001
# Run it with an init (compose.yaml: `init: true`): as process 1, Python would not see a SIGTERM that it
# has no handler for, and no handler of Python's runs while TensorFlow waits.
ENTRYPOINT ["python3"]
CMD ["train_from.py"]
