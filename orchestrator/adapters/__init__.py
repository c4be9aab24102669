"""The ports to the outside on real services: S3, other people's HTTP servers, a moderator.

Imports config, domain, kit, ports, telemetry.
"""
