"""A claim's way to a worker and to its end. It asks ports and the store, and knows no HTTP, no Ray and no SQL.

Imports domain, learning, objects, policy, ports, telemetry.
"""
