{{/* What the schema cannot say. Each message names the value to change. Every template begins with it, so that a value
     that is missing is told by this, and not by the first that stumbles over it. */}}
{{- define "cogmill.validate" -}}
{{- if ne (int .Values.valuesVersion) 3 -}}
{{- fail "these are the values of another version of this chart: helm upgrade --reuse-values keeps that one's defaults, without the keys that are new. Say --reset-then-reuse-values instead (in a values file of your own leave valuesVersion out)" -}}
{{- end -}}
{{- include "cogmill.validateChosen" (dict "path" "" "values" .Values) -}}
{{- include "cogmill.validateConfig" . -}}
{{- include "cogmill.validateKinds" . -}}
{{- include "cogmill.validateClusters" . -}}
{{- include "cogmill.validateResources" . -}}
{{- include "cogmill.validateOutside" . -}}
{{- include "cogmill.validatePods" . -}}
{{- $full := include "cogmill.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- fail (printf "the release's name, here %q, must start with a letter and hold only a-z, 0-9 and -: Services are named after it" $full) -}}
{{- end -}}
{{- if and .Values.api.ingress.enabled (not .Values.api.ingress.host) -}}
{{- fail "api.ingress.host is needed when api.ingress.enabled is true" -}}
{{- end -}}
{{- if and .Values.api.httpRoute.enabled (not .Values.api.httpRoute.parentRefs) -}}
{{- fail "api.httpRoute.parentRefs is needed when api.httpRoute.enabled is true: the Gateways that it hangs on" -}}
{{- end -}}
{{- include "cogmill.validateAutoscaling" . -}}
{{- if not (or .Values.masterKey.key .Values.masterKey.ringKey) -}}
{{- fail "masterKey.key or masterKey.ringKey is needed: where in masterKey.existingSecret the master key is, or its generations" -}}
{{- end -}}
{{- $own := list "COGMILL_CLUSTERS__HOST" "COGMILL_CLUSTERS__OWNER" "COGMILL_CLUSTERS__PORT" "COGMILL_CLUSTERS__TEMPLATE" "COGMILL_CONFIG" "COGMILL_DATABASE_URL" "COGMILL_LISTEN_URL" "COGMILL_MASTER_KEY" "COGMILL_MASTER_KEYS" "COGMILL_METRICS__TOKEN" "COGMILL_RAY__ADDRESS" "COGMILL_RAY__CLUSTER" "COGMILL_S3__ACCESS_KEY" "COGMILL_S3__SECRET_KEY" "RAY_AUTH_MODE" "RAY_AUTH_TOKEN" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" -}}
{{- range $where, $env := include "cogmill.envLists" . | fromJson -}}
{{- $seen := list -}}
{{- range $env -}}
{{- if has .name $own -}}
{{- fail (printf "%s: %s is set by the chart" $where .name) -}}
{{- end -}}
{{- if has .name $seen -}}
{{- fail (printf "%s has %s twice" $where .name) -}}
{{- end -}}
{{- $seen = append $seen .name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Nothing is still what an example says. The values of Secrets are the processes' to refuse, the migration first.
     Arguments: dict "path" "config." "values" a map or a list */}}
{{- define "cogmill.validateChosen" -}}
{{- $path := .path -}}
{{- range $key, $value := .values -}}
{{- if kindIs "string" $value -}}
{{- if regexMatch "(?i)(^|[^a-z])change[-_ ]?me([^a-z]|$)" $value -}}
{{- fail (printf "%s%v is still the placeholder of an example (change-me): choose a value of your own" $path $key) -}}
{{- end -}}
{{- else if or (kindIs "map" $value) (kindIs "slice" $value) -}}
{{- include "cogmill.validateChosen" (dict "path" (printf "%s%v." $path $key) "values" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Models and pools. What only the product's own settings know is told by the migration. */}}
{{- define "cogmill.validateConfig" -}}
{{- if or (not .Values.config.models) (not .Values.config.pools) (not .Values.config.default_model) -}}
{{- fail "config must have default_model, models and pools, as in {default_model: cogvideox-2b, models: {cogvideox-2b: {family: cogvideox-2b, source: /models/CogVideoX-2b}}, pools: {main: {model: cogvideox-2b, workers: 8}}}" -}}
{{- end -}}
{{- range $name, $model := .Values.config.models -}}
{{- if eq (empty $model.source) (empty $model.path) -}}
{{- fail (printf "config.models.%s must have source, or path, which is its older name, and not both" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- if not (hasKey $.Values.config.models $pool.model) -}}
{{- fail (printf "config.pools.%s.model is %q, which config.models does not have" $name $pool.model) -}}
{{- end -}}
{{- if and (not $pool.kinds) (gt (int (default 1 $pool.gpus_per_worker)) (int $.Values.ray.worker.gpus)) -}}
{{- fail (printf "config.pools.%s.gpus_per_worker is %d, and ray.worker.gpus only %d: a worker's GPUs belong in one pod" $name (int $pool.gpus_per_worker) (int $.Values.ray.worker.gpus)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $set := default dict .Values.config.shared -}}
{{- range $set.pools -}}
{{- if not (hasKey $.Values.config.pools .) -}}
{{- fail (printf "config.shared.%s.pools has %q, which config.pools does not have" $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (hasKey .Values.config.models .Values.config.default_model) -}}
{{- fail (printf "config.default_model is %q, which config.models does not have" .Values.config.default_model) -}}
{{- end -}}
{{- end -}}

{{/* Pools with kinds, and the worker groups that they become. */}}
{{- define "cogmill.validateKinds" -}}
{{- $known := list -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- if $pool.kinds -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name) -}}
{{- fail (printf "config.pools.%s has kinds: its name must hold only a-z, 0-9 and -, since worker groups are named after it" $name) -}}
{{- end -}}
{{- if hasKey $pool "workers" -}}
{{- fail (printf "config.pools.%s has workers and kinds, which exclude each other: a kind has min and max" $name) -}}
{{- end -}}
{{- end -}}
{{- range $kind, $_ := default dict $pool.kinds -}}
{{- $known = append $known $kind -}}
{{- end -}}
{{- end -}}
{{- range $kind, $_ := default dict .Values.ray.kinds -}}
{{- if not (has $kind $known) -}}
{{- fail (printf "ray.kinds.%s: no pool of config.pools has a kind of this name" $kind) -}}
{{- end -}}
{{- end -}}
{{- $groups := include "cogmill.groups" . | fromJsonArray -}}
{{- $names := list -}}
{{- range $group := $groups -}}
{{- if has $group.name $names -}}
{{- fail (printf "two worker groups would be called %s: rename a pool or a kind of config.pools" $group.name) -}}
{{- end -}}
{{- $names = append $names $group.name -}}
{{- $notice := toString (dig "engine" "notice_s" 25 $.Values.config) | float64 -}}
{{- if lt (sub (int $group.worker.terminationGracePeriodSeconds) 15 | float64) (addf $notice 2.0) -}}
{{- fail (printf "terminationGracePeriodSeconds of the worker group %s is %d: a worker sees within 2 s that it must go, has config.engine.notice_s (%g) for its checkpoints, and its raylet ends 15 s early" $group.name (int $group.worker.terminationGracePeriodSeconds) $notice) -}}
{{- end -}}
{{- end -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- range $kindName, $kind := default dict $pool.kinds -}}
{{- if and (not $kind.resource) (gt (len $groups) 1) -}}
{{- fail (printf "config.pools.%s.kinds.%s.resource is needed where there are other workers, too: it is what its nodes have and theirs lack" $name $kindName) -}}
{{- end -}}
{{- range $groups -}}
{{- if and (eq .name (printf "%s-%s" $name $kindName)) (gt (int (default 1 $pool.gpus_per_worker)) (int .worker.gpus)) -}}
{{- fail (printf "config.pools.%s.gpus_per_worker is %d, and a pod of its kind %s has only %d GPUs (ray.kinds.%s.gpus, or ray.worker.gpus): a worker's GPUs belong in one pod" $name (int $pool.gpus_per_worker) $kindName (int .worker.gpus) $kindName) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (include "cogmill.scaled" .) (eq (include "cogmill.serviceAccount" (dict "root" . "component" "ray-head" "pod" .Values.ray.head.pod)) "default") -}}
{{- fail "ray.head.pod.serviceAccount.name is needed with kinds where serviceAccount.create is false: KubeRay lets the head's account change pods, and everybody else's must not" -}}
{{- end -}}
{{- end -}}

{{/* The controller of the clusters. */}}
{{- define "cogmill.validateClusters" -}}
{{- range $gone := list "replicas" "drainSeconds" -}}
{{- if hasKey $.Values.dispatcher $gone -}}
{{- fail (printf "dispatcher.%s is no more, leave it out: a Ray cluster that makes way for another drains by itself (clusters.roll), and cogmill pools pause --all stops all work" $gone) -}}
{{- end -}}
{{- end -}}
{{- $roll := .Values.clusters.roll -}}
{{- if ge (int64 $roll.graceSeconds) (int64 $roll.deadlineSeconds) -}}
{{- fail (printf "clusters.roll.graceSeconds is %d, and must be less than deadlineSeconds, %d, or no roll ends in time" (int64 $roll.graceSeconds) (int64 $roll.deadlineSeconds)) -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (not (dig "serviceAccount" "name" "" (default dict .Values.clusters.pod))) -}}
{{- fail "clusters.pod.serviceAccount.name is needed where serviceAccount.create is false: the controller may change Deployments and RayClusters, and everybody else must not" -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.validateAutoscaling" -}}
{{- $scaling := .Values.api.autoscaling -}}
{{- if $scaling.enabled -}}
{{- if not (hasPrefix "redis" (dig "limits" "storage" "memory://" .Values.config)) -}}
{{- fail "api.autoscaling.enabled needs config.limits.storage: redis://HOST, or each API process would count requests alone" -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) -}}
{{- fail (printf "api.autoscaling.minReplicas is %d, more than maxReplicas, %d" (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- end -}}
{{- if and (eq $scaling.by "keda") (not $scaling.triggers) -}}
{{- fail "api.autoscaling.triggers must have at least one where api.autoscaling.by is keda" -}}
{{- end -}}
{{- if and (eq $scaling.by "hpa") (not (dig "requests" "cpu" "" .Values.api.resources)) -}}
{{- fail "api.resources.requests.cpu is needed where api.autoscaling.by is hpa: targetCPU is per cent of it" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Each container's requests within its limits. */}}
{{- define "cogmill.validateResources" -}}
{{- $all := dict
      "api.resources" .Values.api.resources
      "clusters.resources" .Values.clusters.resources
      "dispatcher.resources" .Values.dispatcher.resources
      "maintainer.resources" .Values.maintainer.resources
      "migration.resources" .Values.migration.resources
      "modelsCache.prefetch.resources" .Values.modelsCache.prefetch.resources
      "ray.head.resources" .Values.ray.head.resources
      "ray.autoscaler.resources" .Values.ray.autoscaler.resources
      "test.resources" .Values.test.resources -}}
{{- range include "cogmill.groups" . | fromJsonArray -}}
{{- $where := ternary "ray.worker.resources" (printf "the resources of the worker group %s" .name) (eq .name "gpu") -}}
{{- $_ := set $all $where .worker.resources -}}
{{- if .worker.gpuResource -}}
{{- if or (dig "requests" .worker.gpuResource "" .worker.resources) (dig "limits" .worker.gpuResource "" .worker.resources) -}}
{{- fail (printf "%s has %s, which ray.worker.gpus sets" $where .worker.gpuResource) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $where, $resources := $all -}}
{{- range $what, $limit := default dict $resources.limits -}}
{{- $request := get (default dict $resources.requests) $what -}}
{{- if gt (include "cogmill.number" (toString $request) | float64) (include "cogmill.number" (toString $limit) | float64) -}}
{{- fail (printf "%s.requests.%s is %v, more than its limit, %v" $where $what $request $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity as a number. Arguments: "500m", "2Gi" */}}
{{- define "cogmill.number" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $unit := regexFind "[a-zA-Z]+$" . -}}
{{- mulf (trimSuffix $unit . | float64) (default 1.0 (get $units $unit)) -}}
{{- end -}}
