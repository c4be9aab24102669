{{/* How many workers there are, and how many pods they take. */}}

{{/* So many workers of `each` GPUs in pods of `gpus`: no worker is split. Arguments: dict "workers" "each" "gpus" */}}
{{- define "cogmill.podsFor" -}}
{{- $fit := max 1 (div (int .gpus) (int .each)) -}}
{{- div (sub (add (int .workers) $fit) 1) $fit -}}
{{- end -}}

{{/* Workers that are always there, by their GPUs, as JSON: pools' own, and those that pools share. */}}
{{- define "cogmill.fixedWorkers" -}}
{{- $workers := dict -}}
{{- $sharing := list -}}
{{- range $set := default dict .Values.config.shared -}}
{{- $sharing = concat $sharing $set.pools -}}
{{- $each := toString (default 1 (get (default dict (get $.Values.config.pools (first $set.pools))) "gpus_per_worker")) -}}
{{- $workers = set $workers $each (add (int $set.workers) (default 0 (get $workers $each))) -}}
{{- end -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- if not $pool.kinds -}}
{{- $each := toString (default 1 $pool.gpus_per_worker) -}}
{{- $wanted := ternary (int $pool.workers) (ternary 0 1 (has $name $sharing)) (hasKey $pool "workers") -}}
{{- $workers = set $workers $each (add $wanted (default 0 (get $workers $each))) -}}
{{- end -}}
{{- end -}}
{{- toJson $workers -}}
{{- end -}}

{{/* Pods of the group `gpu`: workers of as many GPUs share pods. */}}
{{- define "cogmill.gpuPods" -}}
{{- $pods := 0 -}}
{{- range $each, $wanted := include "cogmill.fixedWorkers" . | fromJson -}}
{{- $pods = add $pods (include "cogmill.podsFor" (dict "workers" $wanted "each" $each "gpus" $.Values.ray.worker.gpus) | int) -}}
{{- end -}}
{{- $pods -}}
{{- end -}}

{{/* Workers that are always there, of kinds too. */}}
{{- define "cogmill.leastWorkers" -}}
{{- $least := 0 -}}
{{- range include "cogmill.fixedWorkers" . | fromJson -}}
{{- $least = add $least (int .) -}}
{{- end -}}
{{- range $pool := .Values.config.pools -}}
{{- range $kind := default dict $pool.kinds -}}
{{- $least = add $least (int (default 0 $kind.min)) -}}
{{- end -}}
{{- end -}}
{{- $least -}}
{{- end -}}

{{/* Whether there may be more or fewer: empty, or "yes". */}}
{{- define "cogmill.scaled" -}}
{{- range $pool := .Values.config.pools -}}
{{- if $pool.kinds -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* The worker groups, as JSON: name, least and most pods, and everything that their pods are made of. A group of a kind
     is ray.worker with what ray.kinds says otherwise. */}}
{{- define "cogmill.groups" -}}
{{- $groups := list -}}
{{- $pods := include "cogmill.gpuPods" . | int -}}
{{- $scaled := include "cogmill.scaled" . -}}
{{- if or $pods (not $scaled) -}}
{{- $groups = append $groups (dict "name" "gpu" "least" $pods "most" $pods "idle" .Values.ray.autoscaler.idleTimeoutSeconds "worker" .Values.ray.worker) -}}
{{- end -}}
{{- range $poolName, $pool := .Values.config.pools -}}
{{- range $kindName, $kind := default dict $pool.kinds -}}
{{- $said := default dict (get (default dict $.Values.ray.kinds) $kindName) -}}
{{- $worker := mergeOverwrite (deepCopy $.Values.ray.worker) (deepCopy $said) -}}
{{- $_ := set $worker "env" (include "cogmill.kindsEnv" (dict "worker" $.Values.ray.worker.env "kind" (default list $said.env)) | fromJsonArray) -}}
{{- $for := dict "each" (default 1 $pool.gpus_per_worker) "gpus" $worker.gpus -}}
{{- $groups = append $groups (dict
      "name" (printf "%s-%s" $poolName $kindName)
      "least" (include "cogmill.podsFor" (set (deepCopy $for) "workers" (default 0 $kind.min)) | int)
      "most" (include "cogmill.podsFor" (set (deepCopy $for) "workers" $kind.max) | int)
      "resource" (default "" $kind.resource)
      "priority" (ternary (int $said.priority) (ternary 10 0 (default false $kind.may_vanish)) (hasKey $said "priority"))
      "idle" (default $.Values.ray.autoscaler.idleTimeoutSeconds $said.idleTimeoutSeconds)
      "worker" $worker) -}}
{{- end -}}
{{- end -}}
{{- toJson $groups -}}
{{- end -}}

{{/* A kind's variables: the workers', but for those that it says itself. As JSON. Arguments: dict "worker" list "kind" list */}}
{{- define "cogmill.kindsEnv" -}}
{{- $own := list -}}
{{- range .kind -}}{{- $own = append $own .name -}}{{- end -}}
{{- $env := list -}}
{{- range .worker -}}{{- if not (has .name $own) -}}{{- $env = append $env . -}}{{- end -}}{{- end -}}
{{- concat $env .kind | toJson -}}
{{- end -}}
