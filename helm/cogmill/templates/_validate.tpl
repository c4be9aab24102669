{{/* What the schema cannot say. Each message names the value to change. */}}
{{- define "cogmill.validate" -}}
{{- $full := include "cogmill.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "the release's name, here %q, must start with a letter and hold only a-z, 0-9 and -: Services are named after it" $full) -}}
{{- end -}}
{{- range $name, $model := .Values.config.models -}}
{{- if eq (empty $model.source) (empty $model.path) -}}
{{- fail (printf "config.models.%s must have source, or path, which is its older name" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- if not (hasKey $.Values.config.models $pool.model) -}}
{{- fail (printf "config.pools.%s.model is %q, which config.models does not have" $name $pool.model) -}}
{{- end -}}
{{- if gt (int (default 1 $pool.gpus_per_worker)) (int $.Values.ray.worker.gpus) -}}
{{- fail (printf "config.pools.%s.gpus_per_worker is %d, and ray.worker.gpus only %d: a worker's GPUs belong in one pod" $name (int $pool.gpus_per_worker) (int $.Values.ray.worker.gpus)) -}}
{{- end -}}
{{- end -}}
{{- if not (hasKey .Values.config.models .Values.config.default_model) -}}
{{- fail (printf "config.default_model is %q, which config.models does not have" .Values.config.default_model) -}}
{{- end -}}
{{- if and .Values.weights.volume (ne (len .Values.weights.volume) 1) -}}
{{- fail "weights.volume must be one volume source, such as {persistentVolumeClaim: {claimName: models}}" -}}
{{- end -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
{{- fail "api.ingress.host is needed when api.ingress.enabled is true" -}}
{{- end -}}
{{- $own := list "COGMILL_CONFIG" "COGMILL_DATABASE_URL" "COGMILL_MASTER_KEY" "COGMILL_RAY__ADDRESS" "COGMILL_S3__ACCESS_KEY" "COGMILL_S3__SECRET_KEY" "DISPATCHER_DRAIN_S" "RAY_AUTH_MODE" "RAY_AUTH_TOKEN" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" -}}
{{- range $where, $env := dict "extraEnv" .Values.extraEnv "ray.worker.env" .Values.ray.worker.env -}}
{{- range $env -}}
{{- if has .name $own -}}
{{- fail (printf "%s: %s is set by the chart" $where .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
