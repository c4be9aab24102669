"""Who waits, for how long, and whether the GPUs are shared as they should be."""

from panels import Query, dashboard, heat, lines, quantiles, row, stat

DASHBOARD = dashboard(
    "queue",
    "Queue and fairness",
    "What waits by pool and state, how long it waited, and how the backlog lies between tenants. No tenant has a series of its own: cogmill usage and the console name them.",
    [
        stat(
            "Waiting",
            'sum(max by (pool) (cogmill_jobs{pool=~"$pool", state="queued"})) or vector(0)',
            "Jobs, their retries and scheduled ones included.",
            width=4,
        ),
        stat(
            "Held",
            'sum(max by (pool) (cogmill_jobs{pool=~"$pool", state="held"})) or vector(0)',
            "Rows of campaigns that are paused or await approval.",
            width=4,
        ),
        stat(
            "Oldest wait",
            'max(cogmill_queue_oldest_age_seconds{pool=~"$pool", state="queued"}) or vector(0)',
            "Since it could be claimed.",
            unit="s",
            width=4,
        ),
        stat(
            "Tenants that wait",
            'max(cogmill_tenants_waiting{pool=~"$pool"}) or vector(0)',
            "In the pool where they are most.",
            width=4,
        ),
        stat(
            "Guaranteed workers that lack",
            'sum(cogmill_guarantees_short_workers{pool=~"$pool"})',
            "Of tenants that have jobs for them. It is given back within a step or so.",
            width=4,
            bad=1,
        ),
        stat(
            "Paused pools",
            "sum(max by (pool) (cogmill_pool_paused))",
            "By an operator: cogmill pools list says why.",
            width=4,
            bad=1,
        ),
        lines(
            "Jobs by pool",
            "That wait.",
            Query(expr='max by (pool) (cogmill_jobs{pool=~"$pool", state="queued"})', legend="{{pool}}"),
            stacked=True,
        ),
        lines(
            "Oldest of each state",
            "For how long the oldest job of a pool has been queued, held or running.",
            Query(
                expr='max by (pool, state) (cogmill_queue_oldest_age_seconds{pool=~"$pool"})',
                legend="{{pool}} {{state}}",
            ),
            unit="s",
        ),
        lines(
            "Accepted and claimed per second",
            "Where the first stays above the second, the queue grows.",
            Query(expr='sum(rate(cogmill_jobs_submitted_total{pool=~"$pool"}[$__rate_interval]))', legend="accepted"),
            Query(expr='sum(rate(cogmill_claims_total{pool=~"$pool"}[$__rate_interval]))', legend="claimed"),
            unit="ops",
        ),
        lines(
            "Wait until claimed",
            "From when a job could be claimed, retries included.",
            *quantiles('cogmill_job_wait_seconds_bucket{pool=~"$pool"}'),
            unit="s",
        ),
        heat("Waits", "The same: how many waited how long.", 'cogmill_job_wait_seconds_bucket{pool=~"$pool"}'),
        lines(
            "Time to first step by urgency",
            "Interactive: priority 10 and more urgent. Bulk is behind it, campaigns and batches mostly. 95% of each.",
            *quantiles(
                'cogmill_first_step_seconds_bucket{pool=~"$pool"}', "urgency", shares=(0.95,), legend="{{urgency}}"
            ),
            unit="s",
        ),
        row("Fairness"),
        lines(
            "Backlog in GPU hours",
            "Predicted, of all tenants and of the one with the most. Where both are one line, one tenant alone waits.",
            Query(
                expr='sum by (part) (max by (pool, part) (cogmill_backlog_seconds{pool=~"$pool"})) / 3600',
                legend="{{part}}",
            ),
            unit="h",
        ),
        lines(
            "Share of the tenant with the most",
            "Of the backlog of a pool. It waits behind others' shares, and not they behind it.",
            Query(
                expr='max by (pool) (cogmill_backlog_seconds{pool=~"$pool", part="largest"}) / (max by (pool) (cogmill_backlog_seconds{pool=~"$pool", part="all"}) > 0)',
                legend="{{pool}}",
            ),
            unit="percentunit",
            most=1,
        ),
        lines(
            "Tenants that wait, by pool",
            "By pool.",
            Query(expr='max by (pool) (cogmill_tenants_waiting{pool=~"$pool"})', legend="{{pool}}"),
        ),
        lines(
            "Guaranteed workers that lack, by pool",
            "By pool.",
            Query(expr='sum by (pool) (cogmill_guarantees_short_workers{pool=~"$pool"})', legend="{{pool}}"),
        ),
        lines(
            "Renders that gave way per hour",
            "Preempted ones wait in their worker's memory for a more urgent one; evicted ones left it and are queued again.",
            Query(
                expr='sum(rate(cogmill_preemptions_total{pool=~"$pool"}[$__rate_interval])) * 3600', legend="preempted"
            ),
            Query(
                expr='sum by (checkpoint) (rate(cogmill_evictions_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="evicted, checkpoint {{checkpoint}}",
            ),
        ),
        lines(
            "Paused",
            "1 while a pool is.",
            Query(expr='max by (pool) (cogmill_pool_paused{pool=~"$pool"})', legend="{{pool}}"),
            most=1,
        ),
    ],
)
