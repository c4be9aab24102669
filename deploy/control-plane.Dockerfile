# The control plane: `cogmill api|dispatch|maintain|migrate`, without torch.
#
#   docker build -f deploy/control-plane.Dockerfile -t cogmill:0.1.0 .
#
# The worker image is built on this one, so that Ray and Python match to the patch level, as Ray demands. There is no
# HEALTHCHECK: the image runs four different processes, and compose.yaml and the chart give each its own probe.
#
# Two builds of one commit hold the same files: the base is named by its digest, every package by the hashes of
# deploy/locks/, bytecode carries no file's date (nor is it compared with its source: mount no other source over it), and
# what must have a date gets SOURCE_DATE_EPOCH. A mirror without internet: PYTHON_IMAGE names the base there, and pip reads PIP_INDEX_URL.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS build
ARG SOURCE_DATE_EPOCH=1767225600
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
WORKDIR /src
RUN python3 -m venv /opt/build && python3 -m venv /opt/cogmill
COPY deploy/locks/ /opt/cogmill/locks/
# Dependencies first: a change of the code alone reuses these layers.
RUN /opt/build/bin/pip install --no-deps --require-hashes --requirement /opt/cogmill/locks/build.txt
RUN /opt/cogmill/bin/pip install --no-deps --require-hashes --requirement /opt/cogmill/locks/control-plane.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY orchestrator/ orchestrator/
COPY workers/ workers/
COPY api/ api/
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . ./api/client \
 && /opt/cogmill/bin/pip install --no-deps --no-index /wheels/*.whl \
 && /opt/cogmill/bin/pip check \
 && /opt/cogmill/bin/python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /opt/cogmill

FROM ${PYTHON_IMAGE}
ARG SOURCE_DATE_EPOCH=1767225600
ARG REVISION=unknown
LABEL org.opencontainers.image.title=cogmill org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.revision=${REVISION}
RUN groupadd --gid 10001 cogmill && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin cogmill \
 && rm -rf /var/log/faillog /var/log/lastlog
COPY --from=build /opt/cogmill /opt/cogmill
COPY --chmod=0755 deploy/dispatcher-entrypoint.sh /usr/local/bin/dispatcher-entrypoint
# The root may be read-only: what is written goes to /tmp and to the user's home. Bytecode is there already.
ENV PATH=/opt/cogmill/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /home/cogmill
EXPOSE 8000 9101 9102
ENTRYPOINT ["cogmill"]
CMD ["api"]
