{{/* What the migration misses for the others, and names: each would be a pod that waits, and Helm's time-out. */}}

{{/* The keys of Secrets that a migration does not read itself, as JSON, in the form of `cogmill.secrets`: but for those that
     are still to be made, and those that pods start without. Arguments: $ */}}
{{- define "cogmill.otherSecrets" -}}
{{- $made := include "cogmill.externalSecrets" . | fromJson -}}
{{- $read := list -}}
{{- with .Values.ray.authSecret -}}
{{- $read = append $read (dict "variable" "RAY_AUTH_TOKEN" "secret" . "key" "auth_token" "values" "ray.authSecret") -}}
{{- end -}}
{{- $url := include "cogmill.clustersUrl" . | fromJson -}}
{{- if $url.own -}}
{{- $read = append $read (dict "variable" "CLUSTERS_DATABASE_URL" "secret" $url.secret "key" $url.key "values" "clusters.database") -}}
{{- end -}}
{{- range include "cogmill.ownUrls" . | fromJsonArray -}}{{- $read = append $read (omit . "file") -}}{{- end -}}
{{- $redis := .Values.ray.gcsFaultTolerance.redis -}}
{{- if and (eq .Values.ray.gcsFaultTolerance.backend "redis") $redis.existingSecret -}}
{{- range compact (list $redis.passwordKey $redis.usernameKey) -}}
{{- $read = append $read (dict "secret" $redis.existingSecret "key" . "values" "ray.gcsFaultTolerance.redis") -}}
{{- end -}}
{{- end -}}
{{- range $where, $env := include "cogmill.envLists" . | fromJson -}}
{{- range $env -}}
{{- $ref := dig "valueFrom" "secretKeyRef" dict . -}}
{{- if and $ref (not $ref.optional) -}}
{{- $each := dict "secret" $ref.name "key" $ref.key "values" $where -}}
{{- if eq $where "extraEnv" -}}{{- $_ := set $each "variable" .name -}}{{- end -}}
{{- $read = append $read $each -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $missed := list -}}
{{- range $index, $each := $read -}}
{{- if not (regexMatch "^[A-Za-z_][A-Za-z0-9_]*$" (default "" $each.variable)) -}}
{{- $_ := set $each "variable" (printf "CHECK_%d" $index) -}}
{{- end -}}
{{- if not (hasKey $made $each.secret) -}}{{- $missed = append $missed $each -}}{{- end -}}
{{- end -}}
{{- toJson $missed -}}
{{- end -}}

{{/* The same of files: of each Secret and ConfigMap of extraVolumes a volume of the migration's own, as JSON. It looks
     whether the keys are there, and has no other use for them. Arguments: $ */}}
{{- define "cogmill.otherFiles" -}}
{{- $made := include "cogmill.externalSecrets" . | fromJson -}}
{{- $missed := list -}}
{{- range $extra := .Values.extraVolumes -}}
{{- range include "cogmill.volumeSources" $extra.volume | fromJsonArray -}}
{{- if not (or .optional (and (eq .kind "Secret") (hasKey $made .name))) -}}
{{- $keys := list -}}
{{- range .items -}}{{- $keys = append $keys .key -}}{{- end -}}
{{- if and (not $keys) $extra.subPath (not $extra.volume.projected) -}}{{- $keys = list $extra.subPath -}}{{- end -}}
{{- $missed = append $missed (dict "kind" .kind "name" .name "keys" $keys "values" (printf "extraVolumes: %s" $extra.name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $missed -}}
{{- end -}}

{{- define "cogmill.otherDir" -}}/run/cogmill-check{{- end -}}

{{- define "cogmill.otherMounts" -}}
{{- range $index, $_ := include "cogmill.otherFiles" . | fromJsonArray }}
- {name: check-{{ $index }}, mountPath: {{ include "cogmill.otherDir" $ }}/{{ $index }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "cogmill.otherVolumes" -}}
{{- range $index, $each := include "cogmill.otherFiles" . | fromJsonArray }}
{{- $source := dict "optional" true (ternary "secretName" "name" (eq .kind "Secret")) .name -}}
{{- $items := list -}}
{{- range .keys -}}{{- $items = append $items (dict "key" . "path" .) -}}{{- end -}}
{{- if $items -}}{{- $_ := set $source "items" $items -}}{{- end }}
- {{ dict "name" (printf "check-%d" $index) (ternary "secret" "configMap" (eq .kind "Secret")) $source | toJson }}
{{- end }}
{{- end -}}

{{/* Lines of shell that write into $missing what is not there. Arguments: $ */}}
{{- define "cogmill.findMissing" -}}
missing=
{{- range concat (include "cogmill.secrets" . | fromJsonArray) (include "cogmill.otherSecrets" . | fromJsonArray) }}
{{- if and $.Values.secretsAsFiles .file }}
[ -s {{ include "cogmill.secretsDir" $ }}/{{ .file }} ] || missing="$missing
{{- else }}
[ -n "${{ "{" }}{{ .variable }}:-}" ] || missing="$missing
{{- end }}
Secret {{ .secret }} has no key {{ .key }}, or is not there at all ({{ .values }})."
{{- end }}
{{- with .Values.caBundle.configMap }}
[ -s /etc/cogmill-ca/ca.crt ] || missing="$missing
ConfigMap {{ . }} has no key {{ $.Values.caBundle.key }}, or is not there at all (caBundle)."
{{- end }}
{{- range $index, $each := include "cogmill.otherFiles" . | fromJsonArray }}
{{- $folder := printf "%s/%d" (include "cogmill.otherDir" $) $index }}
{{- range .keys }}
[ -e {{ $folder }}/{{ . }} ] || missing="$missing
{{ $each.kind }} {{ $each.name }} has no key {{ . }}, or is not there at all ({{ $each.values }})."
{{- else }}
[ -n "$(ls {{ $folder }})" ] || missing="$missing
{{ .kind }} {{ .name }} has nothing in it, or is not there at all ({{ .values }})."
{{- end }}
{{- end }}
[ -z "$missing" ] || { echo "Missing in this namespace:$missing" >&2; exit 2; }
{{- end -}}
