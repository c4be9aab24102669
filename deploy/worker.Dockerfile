# A GPU worker: the control plane's image plus torch (CUDA wheels), diffusers and PyAV. It runs as a Ray node.
#
#   docker build -f deploy/worker.Dockerfile -t cogmill-worker:0.1.0 --build-arg BASE=cogmill:0.1.0 .
#
# CUDA's libraries come with torch's wheels; the driver comes from the host through the NVIDIA container toolkit.
# Weights are not in the image: mount them. There is no HEALTHCHECK: the raylet's port is probed where it is chosen.
ARG BASE=cogmill:0.1.0
FROM ${BASE}
USER root
# `cogmill` is installed in the base: pip reads the extra from there, and the versions from the same constraints.
RUN pip install --no-cache-dir --disable-pip-version-check \
      --constraint /opt/cogmill/constraints.txt "cogmill[worker,upscale]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
ENTRYPOINT ["ray"]
CMD ["start", "--help"]
