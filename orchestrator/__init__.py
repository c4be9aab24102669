"""Cogmill's control plane: jobs, leases, dispatch and the stack around them."""
