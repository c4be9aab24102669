"""The local stack: PostgreSQL, S3 and Ray from pip, embedded, supervised and stopped again.

Imports adapters, config, domain, store, tenants.
"""
