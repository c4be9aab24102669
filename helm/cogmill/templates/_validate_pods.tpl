{{/* What the schema cannot say of pods: their labels, whom they run as, what is mounted in them. */}}
{{- define "cogmill.validatePods" -}}
{{- $pods := include "cogmill.pods" . | fromJsonArray -}}
{{- range $each := $pods -}}
{{- range $key, $_ := default dict $each.pod.labels -}}
{{- if regexMatch "^(app\\.kubernetes\\.io|cogmill\\.io|helm\\.sh|ray\\.io)/" $key -}}
{{- fail (printf "%s.labels has %s: by labels of that prefix pods are found, and only the chart, the controller and KubeRay set them" $each.where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- include "cogmill.validateAccounts" (dict "root" . "pods" $pods) -}}
{{- include "cogmill.validateMounts" . -}}
{{- end -}}

{{/* Every pod that values describe, as JSON: its component, where its values stand, and they. Arguments: $ */}}
{{- define "cogmill.pods" -}}
{{- $pods := list
      (dict "component" "api" "where" "api.pod" "pod" .Values.api.pod)
      (dict "component" "clusters" "where" "clusters.pod" "pod" .Values.clusters.pod)
      (dict "component" "dispatcher" "where" "dispatcher.pod" "pod" .Values.dispatcher.pod)
      (dict "component" "maintainer" "where" "maintainer.pod" "pod" .Values.maintainer.pod)
      (dict "component" "migrate" "where" "migration.pod" "pod" .Values.migration.pod)
      (dict "component" "prefetch" "where" "modelsCache.prefetch.pod" "pod" .Values.modelsCache.prefetch.pod)
      (dict "component" "ray-head" "where" "ray.head.pod" "pod" .Values.ray.head.pod)
      (dict "component" "ray-worker" "where" "ray.worker.pod" "pod" .Values.ray.worker.pod) -}}
{{- range $kind, $said := default dict .Values.ray.kinds -}}
{{- if $said.pod -}}
{{- $pods = append $pods (dict "component" "ray-worker" "where" (printf "ray.kinds.%s.pod" $kind) "pod" $said.pod) -}}
{{- end -}}
{{- end -}}
{{- toJson $pods -}}
{{- end -}}

{{/* Accounts that may change what runs are nobody else's. Arguments: dict "root" $ "pods" as above */}}
{{- define "cogmill.validateAccounts" -}}
{{- $root := .root -}}
{{- $pods := .pods -}}
{{- $guarded := dict "clusters" "the controller may change Deployments and RayClusters" -}}
{{- if include "cogmill.scaled" $root -}}
{{- $_ := set $guarded "ray-head" "KubeRay lets the head's account change pods" -}}
{{- end -}}
{{- range $own := $pods -}}
{{- if hasKey $guarded $own.component -}}
{{- $why := get $guarded $own.component -}}
{{- $account := include "cogmill.serviceAccount" (merge (dict "root" $root) $own) -}}
{{- if and (not $root.Values.serviceAccount.create) (eq $account (default "default" $root.Values.serviceAccount.name)) -}}
{{- fail (printf "%s.serviceAccount.name is %s, which is everybody's (serviceAccount.name, or the namespace's default): %s, and nobody else must" $own.where $account $why) -}}
{{- end -}}
{{- range $other := $pods -}}
{{- if and (ne $other.component $own.component) (eq $account (include "cogmill.serviceAccount" (merge (dict "root" $root) $other))) -}}
{{- fail (printf "%s and %s would both run as the account %s: %s, and nobody else must (%s.serviceAccount.name)" $own.where $other.where $account $why $own.where) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* One check of all volumes' names and places. Nothing lies below what is mounted read-only, where no place can be made
     for it, and nothing hides what the chart or the image has. */}}
{{- define "cogmill.validateMounts" -}}
{{- $taken := list -}}
{{- range list "/" "/bin" "/home/cogmill" "/lib" "/lib64" "/opt/cogmill" "/sbin" "/spill" "/tmp" "/usr" -}}
{{- $taken = append $taken (dict "path" . "open" true) -}}
{{- end -}}
{{- range list "/dev" "/etc/cogmill" "/proc" (include "cogmill.otherDir" .) (include "cogmill.secretsDir" .) "/run/secrets/kubernetes.io" "/sys" -}}
{{- $taken = append $taken (dict "path" .) -}}
{{- end -}}
{{- if .Values.caBundle.configMap -}}{{- $taken = append $taken (dict "path" "/etc/cogmill-ca") -}}{{- end -}}
{{- $mounts := list (dict "where" "modelsCache.mountPath" "path" .Values.modelsCache.mountPath "open" true) -}}
{{- if .Values.weights.volume -}}
{{- $mounts = append $mounts (dict "where" "weights.mountPath" "path" .Values.weights.mountPath) -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $names -}}
{{- fail (printf "extraVolumes has two of the name %s" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $mounts = append $mounts (dict "where" (printf "extraVolumes: %s" .name) "path" .mountPath) -}}
{{- end -}}
{{- range $new := $mounts -}}
{{- $_ := set $new "path" (regexReplaceAll "^/var/run(/|$)" (clean $new.path) "/run${1}") -}}
{{- range $old := $taken -}}
{{- $below := and (not $old.open) (hasPrefix (printf "%s/" $old.path) $new.path) -}}
{{- $above := and (not (and $old.where $new.open)) (hasPrefix (printf "%s/" (trimSuffix "/" $new.path)) $old.path) -}}
{{- if or (eq $old.path $new.path) $below $above -}}
{{- if $old.where -}}
{{- fail (printf "%s is mounted at %s, and %s at %s: they cannot both be" $new.where $new.path $old.where $old.path) -}}
{{- end -}}
{{- fail (printf "%s is mounted at %s, and %s is what the chart or the image has there" $new.where $new.path $old.path) -}}
{{- end -}}
{{- end -}}
{{- $taken = append $taken $new -}}
{{- end -}}
{{- end -}}
