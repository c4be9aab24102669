{{/* What values add to the chart's own processes and workers: certificate authorities, environment, volumes. */}}

{{/* A component's entries of extraEnv or extraVolumes, as JSON. An entry that names no `components` is for those that serve
     and render: passwords and keys are no business of the controller, the migration and the prefetch Job.
     Arguments: dict "entries" list "component" "api" */}}
{{- define "cogmill.extraOf" -}}
{{- $component := .component -}}
{{- $own := list -}}
{{- range .entries -}}
{{- if has $component (default (list "api" "dispatcher" "maintainer" "ray-worker") .components) -}}
{{- $own = append $own (omit . "components") -}}
{{- end -}}
{{- end -}}
{{- toJson $own -}}
{{- end -}}

{{/* Every list of variables that values have, by its place, as JSON. Arguments: $ */}}
{{- define "cogmill.envLists" -}}
{{- $lists := dict "extraEnv" .Values.extraEnv "ray.worker.env" .Values.ray.worker.env -}}
{{- range $kind, $said := default dict .Values.ray.kinds -}}
{{- $_ := set $lists (printf "ray.kinds.%s.env" $kind) (default list $said.env) -}}
{{- end -}}
{{- toJson $lists -}}
{{- end -}}

{{/* Where everybody finds the certificate authorities. The variables of OpenSSL (Python, httpx), botocore and libpq.
     Arguments: $ */}}
{{- define "cogmill.caEnv" -}}
{{- if .Values.caBundle.configMap }}
{{- range list "SSL_CERT_FILE" "AWS_CA_BUNDLE" "PGSSLROOTCERT" }}
- {name: {{ . }}, value: /etc/cogmill-ca/ca.crt}
{{- end }}
{{- end }}
{{- end -}}

{{/* Where a component's volumes are mounted. Arguments: dict "root" $ "component" "api" */}}
{{- define "cogmill.extraMounts" -}}
{{- if .root.Values.caBundle.configMap }}
- {name: ca, mountPath: /etc/cogmill-ca, readOnly: true}
{{- end }}
{{- range include "cogmill.extraOf" (dict "entries" .root.Values.extraVolumes "component" .component) | fromJsonArray }}
- {name: extra-{{ .name }}, mountPath: {{ .mountPath }}, readOnly: true{{ with .subPath }}, subPath: {{ . }}{{ end }}}
{{- end }}
{{- end -}}

{{/* The volumes. Arguments: dict "root" $ "component" "api"; "asks" true for the migration, which says itself what is
     missing. */}}
{{- define "cogmill.extraVolumes" -}}
{{- $root := .root -}}
{{- $asks := .asks -}}
{{- with $root.Values.caBundle.configMap }}
- name: ca
  configMap: {name: {{ . | quote }}, items: [{key: {{ $root.Values.caBundle.key | quote }}, path: ca.crt}]{{ if $asks }}, optional: true{{ end }}}
{{- end }}
{{- range include "cogmill.extraOf" (dict "entries" $root.Values.extraVolumes "component" .component) | fromJsonArray }}
{{- if $asks -}}{{- include "cogmill.startWithout" (dict "root" $root "volume" .volume) -}}{{- end }}
- {{ merge (dict "name" (printf "extra-%s" .name)) .volume | toJson }}
{{- end }}
{{- end -}}

{{/* Changes a volume so that a pod starts without its Secrets and ConfigMaps, but for those of External Secrets: for them
     it waits. Arguments: dict "root" $ "volume" a volume's source */}}
{{- define "cogmill.startWithout" -}}
{{- $root := .root -}}
{{- $made := include "cogmill.externalSecrets" $root | fromJson -}}
{{- range $source := prepend (dig "projected" "sources" list .volume) .volume -}}
{{- range $kind, $key := dict "secret" (ternary "secretName" "name" (hasKey (default dict $source.secret) "secretName")) "configMap" "name" -}}
{{- with get $source $kind -}}
{{- if and (eq $kind "secret") (hasKey $made (get . $key)) -}}
{{- $_ := set . $key (include "cogmill.foundEarly" (dict "root" $root "secret" (get . $key))) -}}
{{- else -}}
{{- $_ := set . "optional" true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secrets and ConfigMaps that a volume is of, as JSON. Arguments: a volume's source */}}
{{- define "cogmill.volumeSources" -}}
{{- $found := list -}}
{{- range $source := prepend (dig "projected" "sources" list .) . -}}
{{- range $field, $kind := dict "secret" "Secret" "configMap" "ConfigMap" -}}
{{- with get $source $field -}}
{{- $found = append $found (dict "kind" $kind "name" (.secretName | default .name) "items" (default list .items) "optional" (default false .optional)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
