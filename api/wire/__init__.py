"""Bytes of HTTP and what they mean, in no dialect: bodies, forms, ranges, pages, connections, errors."""
