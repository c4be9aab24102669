"""Who hears of what happens to jobs and batches: watchers of one video, and webhooks.

Imports adapters, config, domain, policy, ports, telemetry, tenants.
"""
