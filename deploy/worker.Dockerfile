# A GPU worker: the control plane's image plus torch (CUDA wheels), diffusers and PyAV. It runs as a Ray node.
#
#   docker build -f deploy/worker.Dockerfile -t cogmill-worker:0.1.0 --build-arg BASE=cogmill:0.1.0 .
#
# CUDA's libraries come with torch's wheels; the driver comes from the host through the NVIDIA container toolkit.
# Weights are not in the image: mount them. There is no HEALTHCHECK: the raylet's port is probed where it is chosen.
# For a trial without a GPU: `--build-arg LOCK=worker-cpu`, with EXTRA_INDEX naming PyTorch's index of CPU wheels.
ARG BASE=cogmill:0.1.0
FROM ${BASE}
ARG LOCK=worker
ARG PIP_INDEX_URL
ARG EXTRA_INDEX
ARG REVISION=unknown
LABEL org.opencontainers.image.title=cogmill-worker org.opencontainers.image.revision=${REVISION}
USER root
# The hashes came with the base, and so fit what is in it; `pip check` holds the two together to each other's wants.
# Only what is new gets bytecode here: the base's would lie in both images. Some packages ship files of other Pythons,
# which do not compile and are never imported.
RUN touch /tmp/before \
 && pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps --require-hashes \
      ${EXTRA_INDEX:+--extra-index-url="$EXTRA_INDEX"} --requirement "/opt/cogmill/locks/${LOCK}.txt" \
 && pip check \
 && find /opt/cogmill/lib -name '*.py' -newer /tmp/before > /tmp/new \
 && { python3 -m compileall -qq -f -j 0 --invalidation-mode unchecked-hash -i /tmp/new || true; } \
 && rm /tmp/before /tmp/new
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
ENTRYPOINT ["ray"]
CMD ["start", "--help"]
