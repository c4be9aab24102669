"""The Ray clusters of a release on Kubernetes: made from a template, rolled without losing a render, ended once empty.

Imports config, domain, policy, ports, telemetry.
"""
