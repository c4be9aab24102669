"""Which workers there are, which are wanted, and why they come and go."""

from panels import Query, dashboard, lines, row, stat

DASHBOARD = dashboard(
    "fleet",
    "Fleet",
    "Workers by state and kind, decisions of the autoscaler, swaps of shared workers, Ray clusters, and deaths.",
    [
        stat(
            "Ready",
            'sum(cogmill_workers{pool=~"$pool", state="ready"})',
            "Workers with their model loaded.",
            width=4,
            good=1,
        ),
        stat(
            "Loading", 'sum(cogmill_workers{pool=~"$pool", state="loading"})', "Workers that load their model.", width=4
        ),
        stat("Broken", 'sum(cogmill_workers{pool=~"$pool", state="broken"})', "Workers that cannot.", width=4, bad=1),
        stat(
            "Died, last hour",
            "sum(increase(cogmill_lease_expiries_total[1h])) or vector(0)",
            "Workers that were declared dead, of all pools.",
            width=4,
            bad=3,
        ),
        stat(
            "Quarantined, last 6 hours",
            'sum(increase(cogmill_workers_quarantined_total{pool=~"$pool"}[6h])) or vector(0)',
            "Workers replaced since job after job failed on them.",
            width=4,
            bad=2,
        ),
        stat(
            "Roll overdue",
            "max(cogmill_roll_overdue)",
            "1 while a roll between Ray clusters hangs. On one machine there is none.",
            width=4,
            bad=1,
        ),
        lines(
            "Workers by state",
            "Every worker that a dispatcher knows.",
            Query(expr='sum by (state) (cogmill_workers{pool=~"$pool"})', legend="{{state}}"),
            stacked=True,
        ),
        lines(
            "Ready workers by pool",
            "Beside how many of them a GPU second per second comes from: a wide gap is idle GPUs.",
            Query(expr='sum by (pool) (cogmill_workers{pool=~"$pool", state="ready"})', legend="{{pool}} ready"),
            Query(
                expr='sum by (pool) (rate(cogmill_gpu_busy_seconds_total{pool=~"$pool"}[$__rate_interval]))',
                legend="{{pool}} busy",
            ),
        ),
        row("Deaths"),
        lines(
            "Workers declared dead",
            "By reason: silent is a node or the network, vanished a process, the others were ended by the dispatcher.",
            Query(
                expr="sum by (reason) (increase(cogmill_lease_expiries_total[$__rate_interval]))", legend="{{reason}}"
            ),
        ),
        lines(
            "Quarantines",
            "By pool.",
            Query(
                expr='sum by (pool) (increase(cogmill_workers_quarantined_total{pool=~"$pool"}[$__rate_interval]))',
                legend="{{pool}}",
            ),
        ),
        lines(
            "Heartbeats per second",
            "Leases renewed for workers. None means that the dispatcher or its database hangs.",
            Query(
                expr='sum by (pool) (rate(cogmill_lease_renewals_total{pool=~"$pool"}[$__rate_interval]))',
                legend="{{pool}}",
            ),
            unit="ops",
        ),
        lines(
            "Claims recovered and renders disowned",
            "A finished video of a lost claim that was published; a render that the database did not know any more.",
            Query(expr="sum(increase(cogmill_recovered_total[$__rate_interval]))", legend="recovered"),
            Query(expr="sum(increase(cogmill_unknown_tokens_total[$__rate_interval]))", legend="disowned"),
        ),
        row("Kinds, shared sets and Ray clusters, where there are any"),
        lines(
            "Workers of kinds",
            "Wanted, and of these requested, starting or ready; and draining. Pools with a fixed number of workers have no kinds.",
            Query(expr='sum by (kind, state) (cogmill_fleet_workers{pool=~"$pool"})', legend="{{kind}} {{state}}"),
        ),
        lines(
            "Decisions for more and fewer workers",
            "Per hour. Many of both is flapping.",
            Query(
                expr='sum by (kind, change) (rate(cogmill_scale_decisions_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{kind}} {{change}}",
            ),
        ),
        lines(
            "Kinds that rest",
            "For how long none of a kind is asked for, since none came in its time.",
            Query(
                expr='max by (pool, kind) (cogmill_fleet_resting_seconds{pool=~"$pool"})', legend="{{pool}} {{kind}}"
            ),
            unit="s",
        ),
        lines(
            "Shared workers by the model they hold",
            "Of sets that several pools share: ready ones.",
            Query(
                expr='sum by (set, pool) (cogmill_shared_workers{pool=~"$pool", state="ready"})',
                legend="{{set}} {{pool}}",
            ),
            stacked=True,
        ),
        lines(
            "Swaps of models per hour",
            "Each costs a load. By cause.",
            Query(
                expr='sum by (set, cause) (rate(cogmill_swaps_total{pool=~"$pool"}[$__rate_interval])) * 3600',
                legend="{{set}} {{cause}}",
            ),
        ),
        lines(
            "Ray clusters by state",
            "More than one serves only during a roll. On one machine there is no controller, and nothing here.",
            Query(expr="sum by (state) (cogmill_ray_clusters)", legend="{{state}}"),
            stacked=True,
        ),
    ],
)
