{{/* Names. The longest made from them, <fullname>-<hash>-head-svc, must stay under KubeRay's 50 characters. */}}
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

{{/* Ray pods do not roll when their image changes, so a change makes a cluster of another name. */}}
{{- define "cogmill.cluster" -}}
{{- printf "%s-%s" (include "cogmill.fullname" .) (printf "%s %s" (include "cogmill.workerImage" .) .Values.ray.version | sha256sum | trunc 8) -}}
{{- end -}}

{{- define "cogmill.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "cogmill.fullname" .) "default" .Values.serviceAccount.create) -}}
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

{{/* Configuration: config with the keys that the chart owns. Arguments: $ */}}
{{- define "cogmill.toml" -}}
{{- $owned := dict
      "api" (dict "host" "0.0.0.0" "port" 8000)
      "metrics" (dict "host" "0.0.0.0" "dispatch_port" 9101 "maintain_port" 9102)
      "ray" (dict "cluster" (include "cogmill.cluster" .))
      "models_cache" .Values.modelsCache.mountPath -}}
{{- mustMergeOverwrite (deepCopy .Values.config) $owned | toToml -}}
{{- end -}}

{{- define "cogmill.env" -}}
- name: COGMILL_CONFIG
  value: /etc/cogmill/cogmill.toml
- name: COGMILL_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.urlKey }}}}
{{- with .Values.database.listenUrlKey }}
- name: COGMILL_LISTEN_URL
  valueFrom: {secretKeyRef: {name: {{ $.Values.database.existingSecret }}, key: {{ . }}}}
{{- end }}
- name: COGMILL_MASTER_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.masterKey.existingSecret }}, key: {{ .Values.masterKey.key }}}}
{{- with .Values.s3.existingSecret }}
- name: COGMILL_S3__ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.s3.accessKeyKey }}}}
- name: COGMILL_S3__SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.s3.secretKeyKey }}}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Pods. */}}
{{- define "cogmill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cogmill.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What every pod has in common. Service links would put COGMILL_* variables into the environment.
     Arguments: dict "root" $ "pod" .Values.api.pod, and "account" where it is another one */}}
{{- define "cogmill.pod" -}}
serviceAccountName: {{ .account | default (include "cogmill.serviceAccount" .root) }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "cogmill.podSecurity" .root | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A pod's labels and annotations. Arguments: dict "root" $ "component" "api" "pod" .Values.api.pod */}}
{{- define "cogmill.podMeta" -}}
labels:
  {{- include "cogmill.labels" . | nindent 2 }}
  {{- with .pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  checksum/config: {{ include "cogmill.toml" .root | sha256sum }}
  {{- with .pod.annotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* GPU pods: as many as the pools' workers need together, and those that they share. Workers of as many GPUs share
pods, and no worker is split. */}}
{{- define "cogmill.gpuPods" -}}
{{- $workers := dict -}}
{{- $sharing := list -}}
{{- range $set := default dict .Values.config.shared -}}
{{- $sharing = concat $sharing $set.pools -}}
{{- $each := toString (default 1 (get (default dict (get $.Values.config.pools (first $set.pools))) "gpus_per_worker")) -}}
{{- $workers = set $workers $each (add (int $set.workers) (default 0 (get $workers $each))) -}}
{{- end -}}
{{- range $name, $pool := .Values.config.pools -}}
{{- $each := toString (default 1 $pool.gpus_per_worker) -}}
{{- $wanted := ternary (int $pool.workers) (ternary 0 1 (has $name $sharing)) (hasKey $pool "workers") -}}
{{- $workers = set $workers $each (add $wanted (default 0 (get $workers $each))) -}}
{{- end -}}
{{- $pods := 0 -}}
{{- range $each, $wanted := $workers -}}
{{- $fit := max 1 (div (int $.Values.ray.worker.gpus) (int $each)) -}}
{{- $pods = add $pods (div (sub (add $wanted $fit) 1) $fit) -}}
{{- end -}}
{{- $pods -}}
{{- end -}}
