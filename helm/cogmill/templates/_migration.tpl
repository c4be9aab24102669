{{/* The migration's Job. Secrets and ConfigMaps of yours are optional, so that it starts without them, and says which one
     is missing (_missing.tpl): a pod that needs one that is not there only waits. Where it is no hook its name is a hash of all this, since a Job cannot
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
            {{- include "cogmill.findMissing" . | nindent 12 }}
            {{- with include "cogmill.onlyLookedAt" . }}
            # Of the others, which it only looked for.
            unset {{ . }}
            {{- end }}
            exec cogmill migrate
        # What it says last is in `kubectl describe pod`.
        terminationMessagePolicy: FallbackToLogsOnError
        env:
          {{- include "cogmill.env" (dict "root" . "component" "migrate" "asks" true) | nindent 10 }}
        resources:
          {{- toYaml .Values.migration.resources | nindent 10 }}
        securityContext:
          {{- include "cogmill.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: config, mountPath: /etc/cogmill, readOnly: true}
          - {name: tmp, mountPath: /tmp}
          {{- include "cogmill.extraMounts" (dict "root" . "component" "migrate") | nindent 10 }}
          {{- include "cogmill.otherMounts" . | nindent 10 }}
          {{- include "cogmill.secretMounts" . | nindent 10 }}
    volumes:
      - name: config
        configMap: {name: {{ include "cogmill.fullname" . }}{{ if .Values.migration.hook }}-migrate{{ end }}}
      {{- include "cogmill.extraVolumes" (dict "root" . "component" "migrate" "asks" true) | nindent 6 }}
      {{- include "cogmill.otherVolumes" . | nindent 6 }}
      {{- include "cogmill.secretVolumes" (dict "root" . "component" "migrate" "asks" true) | nindent 6 }}
      - name: tmp
        emptyDir: {}
{{- end -}}

{{/* Variables that are the others', by name. The master key and S3's are not among them: settings that have wrong ones are
     refused here, before anything changes. Arguments: $ */}}
{{- define "cogmill.onlyLookedAt" -}}
{{- $own := list -}}
{{- range include "cogmill.extraOf" (dict "entries" .Values.extraEnv "component" "migrate") | fromJsonArray -}}
{{- $own = append $own .name -}}
{{- end -}}
{{- $others := list -}}
{{- range include "cogmill.otherSecrets" . | fromJsonArray -}}
{{- if not (has .variable $own) -}}{{- $others = append $others .variable -}}{{- end -}}
{{- end -}}
{{- join " " $others -}}
{{- end -}}
