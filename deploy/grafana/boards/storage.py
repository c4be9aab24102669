"""PostgreSQL and S3 as Cogmill's processes see them, and the loops that depend on both."""

from panels import Query, dashboard, heat, lines, quantiles, row, stat

CALLS = "sum(rate(cogmill_database_seconds_count[5m]))"
FAILED = "sum(rate(cogmill_database_errors_total{error!='retried'}[5m]))"

DASHBOARD = dashboard(
    "storage",
    "PostgreSQL and S3",
    "Latency, errors and connections, seen from where they are used. Workers' own uploads are the stage uploading of the dashboard Workers.",
    [
        stat("Database calls", CALLS, "Per second, statements and transactions.", unit="ops", width=4),
        stat(
            "Database, slowest twentieth",
            "histogram_quantile(0.95, sum by (le) (rate(cogmill_database_seconds_bucket[5m])))",
            "95% of the calls take less.",
            unit="s",
            width=4,
            bad=0.25,
        ),
        stat(
            "Database calls that failed",
            f"{FAILED} / ({CALLS} > 0)",
            "Of five minutes.",
            unit="percentunit",
            width=4,
            bad=0.01,
        ),
        stat("S3 calls", "sum(rate(cogmill_s3_request_seconds_count[5m]))", "Per second.", unit="ops", width=4),
        stat(
            "S3, slowest twentieth",
            "histogram_quantile(0.95, sum by (le) (rate(cogmill_s3_request_seconds_bucket[5m])))",
            "95% of the answers begin sooner.",
            unit="s",
            width=4,
            bad=2.5,
        ),
        stat(
            "S3 calls that failed",
            "(sum(rate(cogmill_s3_errors_total[5m])) or vector(0)) / (sum(rate(cogmill_s3_request_seconds_count[5m])) > 0)",
            "Of five minutes.",
            unit="percentunit",
            width=4,
            bad=0.01,
        ),
        row("PostgreSQL"),
        lines(
            "Calls per second by process",
            "Statements and transactions.",
            Query(expr="sum by (job) (rate(cogmill_database_seconds_count[$__rate_interval]))", legend="{{job}}"),
            unit="ops",
            stacked=True,
        ),
        lines(
            "Latency of a call",
            "With the wait for a connection. 95%, by process and by what it is.",
            *quantiles("cogmill_database_seconds_bucket", "job, call", shares=(0.95,), legend="{{job}} {{call}}"),
            unit="s",
        ),
        heat("Calls", "How many took how long.", "cogmill_database_seconds_bucket"),
        lines(
            "Database errors per minute",
            "unavailable: it did not answer; read_only: a standby or a full disk; no_connection: all were busy for too long; retried: after a deadlock.",
            Query(
                expr="sum by (job, error) (rate(cogmill_database_errors_total[$__rate_interval])) * 60 > 0",
                legend="{{job}} {{error}}",
            ),
        ),
        lines(
            "Connections",
            "Of each process: busy ones and the most that there may be. Where they meet, calls wait.",
            Query(
                expr='sum by (job, state) (cogmill_database_connections{state=~"busy|most"})',
                legend="{{job}} {{state}}",
            ),
        ),
        lines(
            "Listening for new jobs",
            "Attempts that failed, per minute; until one succeeds, jobs are polled.",
            Query(expr="sum by (job) (rate(cogmill_listener_failures_total[$__rate_interval])) * 60", legend="{{job}}"),
        ),
        row("S3"),
        lines(
            "Calls per second by operation",
            "Of API, dispatcher and maintainer.",
            Query(
                expr="sum by (operation) (rate(cogmill_s3_request_seconds_count[$__rate_interval]))",
                legend="{{operation}}",
            ),
            unit="ops",
            stacked=True,
        ),
        lines(
            "Latency by operation",
            "Until an answer begins, repetitions included: 95%.",
            *quantiles("cogmill_s3_request_seconds_bucket", "operation", shares=(0.95,), legend="{{operation}}"),
            unit="s",
        ),
        lines(
            "S3 errors per minute",
            "refused: keys, rights or the bucket; busy: it asks for less; server and unreachable: its own trouble. Not found is no error.",
            Query(
                expr="sum by (operation, error) (rate(cogmill_s3_errors_total[$__rate_interval])) * 60",
                legend="{{operation}} {{error}}",
            ),
        ),
        lines(
            "Objects swept per hour",
            "By retention and the sweep of losers and orphans.",
            Query(expr="sum(rate(cogmill_swept_objects_total[$__rate_interval])) * 3600", legend="deleted"),
        ),
        row("Loops that depend on both"),
        lines(
            "Runs of background loops that failed, per minute",
            "By loop. The process's log has each as loop_failed.",
            Query(
                expr="sum by (job, loop) (rate(cogmill_loop_failures_total[$__rate_interval])) * 60 > 0",
                legend="{{job}} {{loop}}",
            ),
        ),
        lines(
            "Put aside",
            "What broke the loop that met it, per hour: cogmill parked list.",
            Query(expr="sum by (loop) (rate(cogmill_parked_total[$__rate_interval])) * 3600", legend="{{loop}}"),
        ),
    ],
    pools=False,
)
