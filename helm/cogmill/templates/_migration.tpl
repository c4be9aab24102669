{{/* The migration's Job. Its Secrets are optional, so that it starts without them, and says which one is missing: a pod
     that needs one that is not there only waits. Where it is no hook its name is a hash of all this, since a Job cannot
     be changed, and `kubectl apply` may come again. */}}
{{- define "cogmill.migration" -}}
{{- $meta := dict "root" . "component" "migrate" "pod" .Values.migration.pod -}}
backoffLimit: {{ .Values.migration.backoffLimit }}
activeDeadlineSeconds: {{ .Values.migration.activeDeadlineSeconds }}
ttlSecondsAfterFinished: {{ .Values.migration.ttlSecondsAfterFinished }}
# 2: what it was given is wrong, and will be the next time.
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes: {containerName: migrate, operator: In, values: [2]}
template:
  metadata:
    {{- include "cogmill.podMeta" $meta | nindent 4 }}
  spec:
    {{- include "cogmill.pod" $meta | nindent 4 }}
    restartPolicy: Never
    containers:
      - name: migrate
        image: {{ include "cogmill.image" . }}
        imagePullPolicy: {{ .Values.image.pullPolicy }}
        command:
          - /bin/sh
          - -c
          - |
            missing=
            {{- range concat (include "cogmill.secrets" . | fromJsonArray) (include "cogmill.otherSecrets" . | fromJsonArray) }}
            {{- if and $.Values.secretsAsFiles .file }}
            [ -s {{ include "cogmill.secretsDir" $ }}/{{ .file }} ] || missing="$missing
            {{- else }}
            [ -n "${{ "{" }}{{ .variable }}:-}" ] || missing="$missing
            {{- end }}
            {{ .secret }} has no key {{ .key }}, or is not there at all ({{ .values }})."
            {{- end }}
            [ -z "$missing" ] || { echo "A Secret is missing in this namespace:$missing" >&2; exit 2; }
            exec cogmill migrate
        # What it says last is in `kubectl describe pod`.
        terminationMessagePolicy: FallbackToLogsOnError
        env:
          {{- include "cogmill.env" (dict "root" . "asks" true) | nindent 10 }}
        resources:
          {{- toYaml .Values.migration.resources | nindent 10 }}
        securityContext:
          {{- include "cogmill.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: config, mountPath: /etc/cogmill, readOnly: true}
          - {name: tmp, mountPath: /tmp}
          {{- include "cogmill.extraMounts" . | nindent 10 }}
          {{- include "cogmill.secretMounts" . | nindent 10 }}
    volumes:
      - name: config
        configMap: {name: {{ include "cogmill.fullname" . }}{{ if .Values.migration.hook }}-migrate{{ end }}}
      {{- include "cogmill.extraVolumes" . | nindent 6 }}
      {{- include "cogmill.secretVolumes" (dict "root" . "asks" true) | nindent 6 }}
      - name: tmp
        emptyDir: {}
{{- end -}}
