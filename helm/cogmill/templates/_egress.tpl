{{/* Whom each component calls. */}}

{{/* By component, the names of values below networkPolicy.egress, and `ray`: the nodes of the Ray clusters and their
     dispatchers, on any port, since Ray's processes choose theirs as they start. DNS is everybody's. As JSON. */}}
{{- define "cogmill.calls" -}}
{{- $config := .Values.config -}}
{{- $s3 := list "s3" -}}
{{- if include "cogmill.identity" . -}}{{- $s3 = append $s3 "identity" -}}{{- end -}}
{{- $api := concat (list "postgres" "web") $s3 -}}
{{- if hasPrefix "redis" (dig "limits" "storage" "" $config) -}}{{- $api = append $api "redis" -}}{{- end -}}
{{- $head := list "ray" -}}
{{- if include "cogmill.scaled" . -}}{{- $head = append $head "kubernetesApi" -}}{{- end -}}
{{- if eq .Values.ray.gcsFaultTolerance.backend "redis" -}}{{- $head = append $head "redis" -}}{{- end -}}
{{- $worker := prepend $s3 "ray" -}}
{{- $prefetch := $s3 -}}
{{- if include "cogmill.fetches" (dict "root" . "scheme" "hf://") -}}
{{- $worker = append $worker "models" -}}
{{- $prefetch = append $prefetch "models" -}}
{{- end -}}
{{- if dig "moderation" "video" false $config -}}{{- $worker = append $worker "web" -}}{{- end -}}
{{- $traces := list -}}
{{- if dig "tracing" "endpoint" "" $config -}}{{- $traces = list "collector" -}}{{- end -}}
{{- $calls := dict
      "api" (concat $api $traces)
      "clusters" (list "postgres" "kubernetesApi")
      "dispatcher" (concat (list "postgres" "ray") $s3 $traces)
      "maintainer" (concat (list "postgres" "web") $s3 $traces)
      "migrate" (list "postgres")
      "ray-head" $head
      "ray-worker" $worker
      "test" (list "release") -}}
{{- if .Values.modelsCache.prefetch.enabled -}}{{- $_ := set $calls "prefetch" $prefetch -}}{{- end -}}
{{- toJson $calls -}}
{{- end -}}

{{/* Whether credentials for S3 are a cloud identity's: empty, or "yes". */}}
{{- define "cogmill.identity" -}}
{{- $said := .Values.s3.existingSecret -}}
{{- range .Values.extraEnv -}}{{- if eq .name "AWS_ACCESS_KEY_ID" -}}{{- $said = .name -}}{{- end -}}{{- end -}}
{{- if not $said -}}yes{{- end -}}
{{- end -}}

{{/* Peers of this release, as JSON. Arguments: dict "root" $ "components" list */}}
{{- define "cogmill.podPeers" -}}
{{- $peers := list -}}
{{- range .components -}}
{{- $labels := include "cogmill.selector" (dict "root" $.root "component" .) | fromYaml -}}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) -}}
{{- end -}}
{{- toJson $peers -}}
{{- end -}}

{{/* A component's rules, as JSON. Arguments: dict "root" $ "component" "api" "calls" list */}}
{{- define "cogmill.egressRules" -}}
{{- $egress := .root.Values.networkPolicy.egress -}}
{{- $rules := list -}}
{{- range prepend .calls "dns" -}}
{{- if eq . "ray" -}}
{{- $rules = append $rules (dict "to" (include "cogmill.podPeers" (dict "root" $.root "components" (list "dispatcher" "ray-head" "ray-worker")) | fromJsonArray)) -}}
{{- else if eq . "release" -}}
{{- $rules = append $rules (dict "to" (include "cogmill.podPeers" (dict "root" $.root "components" (list "api" "clusters" "dispatcher")) | fromJsonArray)) -}}
{{- else -}}
{{- $called := get $egress . -}}
{{- $ports := list -}}
{{- $dns := eq . "dns" -}}
{{- range $called.ports -}}
{{- $ports = append $ports (dict "port" (int .) "protocol" "TCP") -}}
{{- if $dns -}}{{- $ports = append $ports (dict "port" (int .) "protocol" "UDP") -}}{{- end -}}
{{- end -}}
{{- $rules = append $rules (dict "to" $called.to "ports" $ports) -}}
{{- end -}}
{{- end -}}
{{- concat $rules (get $egress.more .component | default list) | toJson -}}
{{- end -}}
