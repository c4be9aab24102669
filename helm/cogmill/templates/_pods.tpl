{{/* What every pod has in common, and who each runs as. */}}

{{- define "cogmill.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
# Or each start walks through a volume of weights, file by file.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "cogmill.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A component's ServiceAccount. Arguments: dict "root" $ "component" "api" "pod" .Values.api.pod */}}
{{- define "cogmill.serviceAccount" -}}
{{- $own := dig "serviceAccount" "name" "" (default dict .pod) -}}
{{- if $own -}}
{{- $own -}}
{{- else if .root.Values.serviceAccount.create -}}
{{- printf "%s-%s" (include "cogmill.fullname" .root) .component -}}
{{- else -}}
{{- .root.Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The same as an object. No pod gets its token by itself. Arguments: as above, and "annotations" where it has more. */}}
{{- define "cogmill.account" -}}
{{- $annotations := merge (dict) (default dict .annotations) (dig "serviceAccount" "annotations" dict (default dict .pod)) .root.Values.serviceAccount.annotations -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "cogmill.serviceAccount" . }}
  labels:
    {{- include "cogmill.labels" . | nindent 4 }}
  {{- with $annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{/* Service links would put COGMILL_* variables into the environment.
     Arguments: dict "root" $ "component" "api" "pod" .Values.api.pod */}}
{{- define "cogmill.pod" -}}
serviceAccountName: {{ include "cogmill.serviceAccount" . }}
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
{{- with .pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The token of a pod's account, for the one container that mounts it at /var/run/secrets/kubernetes.io/serviceaccount. */}}
{{- define "cogmill.apiToken" -}}
projected:
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
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
