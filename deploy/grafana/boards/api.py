"""What callers meet: requests, errors, latencies, refusals, webhooks and the audit log."""

from panels import Query, bars, dashboard, heat, lines, quantiles, row, stat

# Probes are no callers.
CALLERS = 'route!~"/metrics|/healthz|/readyz"'
COUNT = f"cogmill_http_request_seconds_count{{{CALLERS}}}"
BUCKET = f"cogmill_http_request_seconds_bucket{{{CALLERS}}}"
ALL = f"sum(rate({COUNT}[5m]))"
SUBMITS = 'method="POST", route=~"/v1/videos|/v1/videos/{video_id}/remix|/api/paas/v4/videos/generations"'

DASHBOARD = dashboard(
    "api",
    "API",
    "Requests by route and status, latency, refusals, webhooks, and what the API's processes use.",
    [
        stat("Requests", ALL, "Per second, of all API processes.", unit="reqps", width=4),
        stat(
            "Server errors",
            f"(sum(rate(cogmill_http_request_seconds_count{{status=~'5.*'}}[5m])) or vector(0)) / ({ALL} > 0)",
            "Of all answers in five minutes.",
            unit="percentunit",
            width=4,
            bad=0.01,
        ),
        stat(
            "Slowest twentieth",
            f"histogram_quantile(0.95, sum by (le) (rate({BUCKET}[5m])))",
            "95% of the answers begin sooner.",
            unit="s",
            width=4,
            bad=1,
        ),
        stat("Accepted", "sum(rate(cogmill_jobs_submitted_total[5m]))", "Jobs per second.", unit="ops", width=4),
        stat("Webhooks pending", "max(cogmill_webhooks_pending)", "Still to be delivered.", width=4),
        stat("Processes", 'sum(up{job="cogmill-api"})', "Of the API that answer.", width=4, good=1),
        lines(
            "Requests by status",
            "4xx are the callers', 429 their limits; 503 says that PostgreSQL or S3 did not answer.",
            Query(expr=f"sum by (status) (rate({COUNT}[$__rate_interval]))", legend="{{status}}"),
            unit="reqps",
            stacked=True,
        ),
        lines(
            "Latency",
            "Until an answer begins: streams and downloads go on behind it.",
            *quantiles(BUCKET),
            unit="s",
        ),
        bars(
            "Busiest routes",
            "Per second, of the last ten minutes.",
            Query(
                expr=f"topk(12, sum by (method, route) (rate({COUNT}[10m])))",
                legend="{{method}} {{route}}",
            ),
            unit="reqps",
        ),
        bars(
            "Slowest routes",
            "95% of the answers begin sooner, of the last ten minutes.",
            Query(
                expr=f"topk(12, histogram_quantile(0.95, sum by (le, method, route) (rate({BUCKET}[10m]))) > 0)",
                legend="{{method}} {{route}}",
            ),
            unit="s",
        ),
        heat(
            "Latencies of submits",
            "Of single videos: how many took how long.",
            f"cogmill_http_request_seconds_bucket{{{SUBMITS}}}",
        ),
        lines(
            "Jobs accepted",
            "Per second, by pool.",
            Query(expr="sum by (pool) (rate(cogmill_jobs_submitted_total[$__rate_interval]))", legend="{{pool}}"),
            unit="ops",
        ),
        row("Refusals"),
        lines(
            "Requests without a good key",
            "Per minute, by reason.",
            Query(
                expr="sum by (reason) (rate(cogmill_authentication_failures_total[$__rate_interval])) * 60",
                legend="{{reason}}",
            ),
        ),
        lines(
            "Over their limits, and uncounted",
            "Per minute: answers 429, and requests that passed because the storage of rates was away.",
            Query(
                expr="sum(rate(cogmill_http_request_seconds_count{status='429'}[$__rate_interval])) * 60", legend="429"
            ),
            Query(expr="sum(rate(cogmill_uncounted_requests_total[$__rate_interval])) * 60", legend="uncounted"),
        ),
        lines(
            "Moderation",
            "Answers of the hook per minute, where there is one.",
            Query(
                expr="sum by (subject, verdict) (rate(cogmill_moderation_total[$__rate_interval])) * 60",
                legend="{{subject}} {{verdict}}",
            ),
        ),
        lines(
            "Audit log",
            "Entries that wait for a seal, and for how long the oldest has.",
            Query(expr="max(cogmill_audit_unsealed)", legend="entries"),
            Query(expr="max(cogmill_audit_unsealed_age_seconds)", legend="age in s"),
            Query(expr="sum(rate(cogmill_audit_seals_total[$__rate_interval])) * 60", legend="seals per minute"),
        ),
        row("Webhooks"),
        lines(
            "Tries to deliver, per minute",
            "By outcome: what a receiver refuses is tried again, gone ones never.",
            Query(
                expr="sum by (outcome) (rate(cogmill_webhook_tries_total[$__rate_interval])) * 60", legend="{{outcome}}"
            ),
            width=8,
        ),
        lines(
            "Waiting to be delivered",
            "Webhooks, those in flight, and those that were given up in an hour.",
            Query(expr="max(cogmill_webhooks_pending)", legend="pending"),
            Query(expr="sum(cogmill_webhooks_in_flight)", legend="in flight"),
            Query(expr="sum(increase(cogmill_webhooks_given_up_total[1h]))", legend="given up"),
            width=8,
        ),
        lines(
            "Oldest",
            "Event that is no webhook yet, and webhook that is not delivered.",
            Query(expr="max(cogmill_outbox_oldest_age_seconds)", legend="event"),
            Query(expr="max(cogmill_webhook_oldest_age_seconds)", legend="webhook"),
            unit="s",
            width=8,
        ),
        row("Processes"),
        lines(
            "CPU",
            "Cores that each process uses. One API process can use one.",
            Query(
                expr='rate(process_cpu_seconds_total{job=~"cogmill-.*"}[$__rate_interval])',
                legend="{{job}} {{instance}}",
            ),
        ),
        lines(
            "Memory",
            "Resident.",
            Query(expr='process_resident_memory_bytes{job=~"cogmill-.*"}', legend="{{job}} {{instance}}"),
            unit="bytes",
        ),
        lines(
            "Spans of traces",
            "Made, sent and refused, a second. Where more are made than sent, the collector does not keep up, and the rest are lost.",
            Query(expr="sum by (fate) (rate(cogmill_trace_spans_total[$__rate_interval]))", legend="{{fate}}"),
        ),
    ],
    pools=False,
)
