{{/* Secrets as files, and those that External Secrets makes. */}}

{{/* Every key that External Secrets may bring, as JSON: the Secret, its key, and its name in `remote`. */}}
{{- define "cogmill.remotes" -}}
{{- $read := include "cogmill.secrets" . | fromJsonArray -}}
{{- $url := include "cogmill.clustersUrl" . | fromJson -}}
{{- if $url.own -}}
{{- $read = append $read (dict "secret" $url.secret "key" $url.key "remote" "clustersDatabaseUrl") -}}
{{- end -}}
{{- range include "cogmill.ownUrls" . | fromJsonArray -}}{{- $read = append $read . -}}{{- end -}}
{{- with .Values.ray.authSecret -}}
{{- $read = append $read (dict "secret" . "key" "auth_token" "remote" "rayToken") -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{/* Which Secrets ExternalSecrets make, as JSON: by the Secret's name, where each of its keys is. */}}
{{- define "cogmill.externalSecrets" -}}
{{- $made := dict -}}
{{- if .Values.externalSecrets.enabled -}}
{{- range include "cogmill.remotes" . | fromJsonArray -}}
{{- $ref := get $.Values.externalSecrets.remote .remote | default dict -}}
{{- if $ref.key -}}
{{- $_ := set $made .secret (append (get $made .secret | default list) (dict "secretKey" .key "remoteRef" $ref)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* The name of the copy that a hook reads: the Secret itself is made after it. Arguments: dict "root" $ "secret" "name" */}}
{{- define "cogmill.earlySecret" -}}
{{- printf "%s-migrate-%s" (include "cogmill.fullname" .root) .secret | trunc 253 | trimSuffix "-" -}}
{{- end -}}

{{/* The name under which the migration finds a Secret: that of the copy, where there is one. Arguments: as above */}}
{{- define "cogmill.foundEarly" -}}
{{- if and .root.Values.migration.hook (hasKey (include "cogmill.externalSecrets" .root | fromJson) .secret) -}}
{{- include "cogmill.earlySecret" . -}}
{{- else -}}
{{- .secret -}}
{{- end -}}
{{- end -}}

{{/* The Secrets that the migration itself reads, as JSON: their names. Arguments: $ */}}
{{- define "cogmill.migrationReads" -}}
{{- $names := list -}}
{{- range include "cogmill.secrets" . | fromJsonArray -}}{{- $names = append $names .secret -}}{{- end -}}
{{- range include "cogmill.extraOf" (dict "entries" .Values.extraEnv "component" "migrate") | fromJsonArray -}}
{{- $names = append $names (dig "valueFrom" "secretKeyRef" "name" "" .) -}}
{{- end -}}
{{- range include "cogmill.extraOf" (dict "entries" .Values.extraVolumes "component" "migrate") | fromJsonArray -}}
{{- range include "cogmill.volumeSources" .volume | fromJsonArray -}}
{{- if eq .kind "Secret" -}}{{- $names = append $names .name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- $names | uniq | toJson -}}
{{- end -}}

{{/* An ExternalSecret. Arguments: dict "root" $ "secret" "name" "data" list, and "annotations" of a hook's */}}
{{- define "cogmill.externalSecret" -}}
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: {{ .secret | quote }}
  labels:
    {{- include "cogmill.labels" (dict "root" .root "component" "secrets") | nindent 4 }}
  {{- with .annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  refreshInterval: {{ .root.Values.externalSecrets.refreshInterval | quote }}
  secretStoreRef:
    {{- toYaml .root.Values.externalSecrets.secretStoreRef | nindent 4 }}
  target: {name: {{ .secret | quote }}, creationPolicy: Owner}
  data:
    {{- toYaml .data | nindent 4 }}
{{- end -}}

{{/* What a process reads, as JSON: as `cogmill.secrets`, with the name of the Secret that it finds it in, and whether the
     pod may start without. Arguments: dict "root" $ "component" "api", whose database role may be its own; "asks" true for the migration, which says itself what is missing but
     for what External Secrets has yet to make: for that its pod waits; "keyless" true for who needs no master key. */}}
{{- define "cogmill.secretsRead" -}}
{{- $root := .root -}}
{{- $asks := .asks -}}
{{- $made := include "cogmill.externalSecrets" $root | fromJson -}}
{{- $read := list -}}
{{- $keyless := .keyless -}}
{{- $own := dict -}}
{{- range include "cogmill.ownUrls" $root | fromJsonArray -}}
{{- if eq .component $.component -}}{{- $_ := set $own .file (pick . "secret" "key") -}}{{- end -}}
{{- end -}}
{{- range include "cogmill.secrets" $root | fromJsonArray -}}
{{- if not (and $keyless (has .file (list "master_key" "master_keys"))) -}}
{{- $_ := mergeOverwrite . (get $own .file | default dict) -}}
{{- $name := .secret -}}
{{- if $asks -}}{{- $name = include "cogmill.foundEarly" (dict "root" $root "secret" .secret) -}}{{- end -}}
{{- $read = append $read (merge (dict "from" $name "optional" (and $asks (not (hasKey $made .secret)))) .) -}}
{{- end -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{- define "cogmill.secretsDir" -}}/run/secrets/cogmill{{- end -}}

{{/* Where they are mounted as files. No `subPath`: the kubelet never changes such a file. Arguments: $ */}}
{{- define "cogmill.secretMounts" -}}
{{- if .Values.secretsAsFiles }}
- {name: secrets, mountPath: {{ include "cogmill.secretsDir" . }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* The files, for the process's group alone (`fsGroup`). Arguments: as of secretsRead */}}
{{- define "cogmill.secretVolumes" -}}
{{- if .root.Values.secretsAsFiles }}
- name: secrets
  projected:
    # 0440, which not every reader of YAML takes for octal.
    defaultMode: 288
    sources:
      {{- range include "cogmill.secretsRead" . | fromJsonArray }}
      - secret: {name: {{ .from | quote }}, items: [{key: {{ .key | quote }}, path: {{ .file }}}]{{ if .optional }}, optional: true{{ end }}}
      {{- end }}
{{- end }}
{{- end -}}
