# The control plane: `cogmill api|dispatch|maintain|migrate`, without torch.
#
#   docker build -f deploy/control-plane.Dockerfile -t cogmill:0.1.0 .
#
# The worker image is built on this one, so that Ray and Python match to the patch level, as Ray demands. There is no
# HEALTHCHECK: the image runs four different processes, and compose.yaml and the chart give each its own probe.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python3 -m venv /opt/cogmill
ENV PATH=/opt/cogmill/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Dependencies first: a change of the code alone reuses this layer.
COPY constraints.txt pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['dependencies'], *project['optional-dependencies']['redis'], sep='\n')" > requirements.txt \
 && pip install --constraint constraints.txt --requirement requirements.txt \
 && cp constraints.txt /opt/cogmill/constraints.txt
COPY README.md LICENSE NOTICE ./
COPY orchestrator/ orchestrator/
COPY workers/ workers/
COPY api/ api/
RUN pip install --no-deps . ./api/client

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 cogmill && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin cogmill
COPY --from=build /opt/cogmill /opt/cogmill
COPY --chmod=0755 deploy/dispatcher-entrypoint.sh /usr/local/bin/dispatcher-entrypoint
ENV PATH=/opt/cogmill/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/cogmill
EXPOSE 8000 9101 9102
ENTRYPOINT ["cogmill"]
CMD ["api"]
