{{/* Names. The longest made from them, <fullname>-<8 digits>-head-svc, must stay under KubeRay's 50 characters. */}}
{{- define "cogmill.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- if gt (len $full) 28 -}}
{{- printf "%s-%s" ($full | trunc 21 | trimSuffix "-") (sha256sum $full | trunc 6) -}}
{{- else -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- define "cogmill.workerImage" -}}
{{- printf "%s:%s" .Values.workerImage.repository (.Values.workerImage.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{/* Labels. Arguments: dict "root" $ "component" "api" */}}
{{- define "cogmill.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "cogmill.labels" -}}
{{ include "cogmill.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cogmill
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* Configuration: config with the keys that the chart owns. Nothing of the Ray cluster is in it: its dispatcher alone is
     told, by its environment, or a new worker image would restart everybody. Arguments: $ */}}
{{- define "cogmill.toml" -}}
{{- $owned := dict
      "api" (dict "host" "0.0.0.0" "port" 8000)
      "metrics" (dict "host" "0.0.0.0" "api_port" 9100 "dispatch_port" 9101 "maintain_port" 9102)
      "models_cache" .Values.modelsCache.mountPath -}}
{{- mustMergeOverwrite (deepCopy .Values.config) $owned | toToml -}}
{{- end -}}

{{/* The keys of Secrets that the processes read, as JSON: the variable or the file that each becomes, the Secret, its key,
     the values that name them, and the name of where External Secrets finds it. */}}
{{- define "cogmill.secrets" -}}
{{- $read := list
      (dict "variable" "COGMILL_DATABASE_URL" "secret" .Values.database.existingSecret "key" .Values.database.urlKey "values" "database.existingSecret, database.urlKey" "file" "database_url" "remote" "databaseUrl") -}}
{{- with .Values.database.listenUrlKey -}}
{{- $read = append $read (dict "variable" "COGMILL_LISTEN_URL" "secret" $.Values.database.existingSecret "key" . "values" "database.existingSecret, database.listenUrlKey" "file" "listen_url" "remote" "listenUrl") -}}
{{- end -}}
{{- with .Values.masterKey.key -}}
{{- $read = append $read (dict "variable" "COGMILL_MASTER_KEY" "secret" $.Values.masterKey.existingSecret "key" . "values" "masterKey.existingSecret, masterKey.key" "file" "master_key" "remote" "masterKey") -}}
{{- end -}}
{{- with .Values.masterKey.ringKey -}}
{{- $read = append $read (dict "variable" "COGMILL_MASTER_KEYS" "secret" $.Values.masterKey.existingSecret "key" . "values" "masterKey.existingSecret, masterKey.ringKey" "file" "master_keys" "remote" "masterKeys") -}}
{{- end -}}
{{- with .Values.s3.existingSecret -}}
{{- $read = append $read (dict "variable" "COGMILL_S3__ACCESS_KEY" "secret" . "key" $.Values.s3.accessKeyKey "values" "s3.existingSecret, s3.accessKeyKey" "file" "s3__access_key" "remote" "s3AccessKey") -}}
{{- $read = append $read (dict "variable" "COGMILL_S3__SECRET_KEY" "secret" . "key" $.Values.s3.secretKeyKey "values" "s3.existingSecret, s3.secretKeyKey" "file" "s3__secret_key" "remote" "s3SecretKey") -}}
{{- end -}}
{{- with .Values.metricsToken.existingSecret -}}
{{- $read = append $read (dict "variable" "COGMILL_METRICS__TOKEN" "secret" . "key" $.Values.metricsToken.key "values" "metricsToken.existingSecret, metricsToken.key" "file" "metrics__token" "remote" "metricsToken") -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{/* The token of /metrics as a variable, for who has no others. Arguments: $ */}}
{{- define "cogmill.metricsToken" -}}
{{- with .Values.metricsToken.existingSecret }}
- name: COGMILL_METRICS__TOKEN
  valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.metricsToken.key | quote }}}}
{{- end }}
{{- end -}}

{{/* Where the controller finds its database's URL, as JSON: the Secret, its key, and whether that is another one than
     everybody's. */}}
{{- define "cogmill.clustersUrl" -}}
{{- $said := .Values.clusters.database -}}
{{- $secret := $said.existingSecret | default .Values.database.existingSecret -}}
{{- $key := $said.urlKey | default .Values.database.urlKey -}}
{{- $shared := and (eq $secret .Values.database.existingSecret) (eq $key .Values.database.urlKey) -}}
{{- dict "secret" $secret "key" $key "own" (not $shared) | toJson -}}
{{- end -}}

{{/* URLs of components whose database role is their own, as JSON: the component, what each becomes there, the Secret, its
     key, the values that name them, and the name of where External Secrets finds it. */}}
{{- define "cogmill.ownUrls" -}}
{{- $read := list -}}
{{- $all := .Values.database -}}
{{- range $component := list "api" "dispatcher" "maintainer" -}}
{{- $said := (get $.Values $component).database | default dict -}}
{{- $secret := $said.existingSecret | default $all.existingSecret -}}
{{- $key := $said.urlKey | default $all.urlKey -}}
{{- $where := printf "%s.database" $component -}}
{{- if not (and (eq $secret $all.existingSecret) (eq $key $all.urlKey)) -}}
{{- $read = append $read (dict "component" $component "file" "database_url" "variable" (printf "%s_DATABASE_URL" (upper $component)) "secret" $secret "key" $key "values" $where "remote" (printf "%sDatabaseUrl" $component)) -}}
{{- with $said.listenUrlKey -}}
{{- $read = append $read (dict "component" $component "file" "listen_url" "variable" (printf "%s_LISTEN_URL" (upper $component)) "secret" $secret "key" . "values" $where "remote" (printf "%sListenUrl" $component)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{/* Environment of a process. Arguments: dict "root" $ "component" "api", "asks" true for one that says itself what is
     missing, "keyless" true for one that needs no master key */}}
{{- define "cogmill.env" -}}
{{- $root := .root -}}
{{- $files := $root.Values.secretsAsFiles -}}
{{- $read := ternary list (include "cogmill.secretsRead" . | fromJsonArray) $files -}}
{{- $given := include "cogmill.extraOf" (dict "entries" $root.Values.extraEnv "component" .component) | fromJsonArray -}}
{{- if .asks -}}
{{- $named := list -}}
{{- range include "cogmill.otherSecrets" $root | fromJsonArray -}}
{{- $read = append $read (merge (dict "from" .secret "optional" true) .) -}}
{{- $named = append $named .variable -}}
{{- end -}}
{{- $rest := list -}}
{{- range $given -}}
{{- if not (has .name $named) -}}
{{- with dig "valueFrom" "secretKeyRef" dict . -}}
{{- $_ := set . "name" (include "cogmill.foundEarly" (dict "root" $root "secret" .name)) -}}
{{- end -}}
{{- $rest = append $rest . -}}
{{- end -}}
{{- end -}}
{{- $given = $rest -}}
{{- end -}}
- name: COGMILL_CONFIG
  value: /etc/cogmill/cogmill.toml
{{- if $files }}
- {name: COGMILL_SECRETS_DIR, value: {{ include "cogmill.secretsDir" $root }}}
{{- end }}
{{- range $read }}
- name: {{ .variable }}
  valueFrom: {secretKeyRef: {name: {{ .from | quote }}, key: {{ .key | quote }}{{ if .optional }}, optional: true{{ end }}}}
{{- end }}
{{- include "cogmill.caEnv" $root }}
{{- with $given }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What callers need, and nothing else, as JSON: paths and their types, as an Ingress has them. Metrics and health need
     no key and are for the cluster. */}}
{{- define "cogmill.publicPaths" -}}
{{- $base := dig "api" "base_path" "" .Values.config | default "" -}}
{{- dict
      (default "/" $base) "Exact"
      (print $base "/docs") "Prefix"
      (print $base "/console") "Prefix"
      (print $base "/openapi.json") "Exact"
      (print $base "/llms.txt") "Exact"
      (print $base "/.well-known/jwks.json") "Exact"
      (print $base "/v1") "Prefix"
      (print $base "/api/paas/v4") "Prefix" | toJson -}}
{{- end -}}
