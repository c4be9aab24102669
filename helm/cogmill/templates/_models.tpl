{{/* The cache of models: its volume, and the Job that fills it. */}}

{{/* Whether something has to be fetched from there. Arguments: dict "root" $ "scheme" "hf://" */}}
{{- define "cogmill.fetches" -}}
{{- $scheme := .scheme -}}
{{- range concat (values .root.Values.config.models) (values (default dict .root.Values.config.adapters)) -}}
{{- if hasPrefix $scheme (default "" .source) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.modelsClaim" -}}{{ include "cogmill.fullname" . }}-models{{- end -}}

{{/* The volume's source. Arguments: $ */}}
{{- define "cogmill.modelsCacheVolume" -}}
{{- if .Values.modelsCache.claim.create -}}
persistentVolumeClaim: {claimName: {{ include "cogmill.modelsClaim" . }}}
{{- else if .Values.modelsCache.volume -}}
{{- toYaml .Values.modelsCache.volume -}}
{{- else -}}
emptyDir: {sizeLimit: {{ .Values.modelsCache.size }}}
{{- end -}}
{{- end -}}

{{/* The Job's spec. It is made of what it fetches and how, and of nothing else of the configuration, since another spec
     makes another Job. Database and master key are none of its business; the settings only must have some. */}}
{{- define "cogmill.prefetch" -}}
{{- $values := .Values.modelsCache.prefetch -}}
{{- $meta := dict "root" . "component" "prefetch" "pod" $values.pod -}}
backoffLimit: {{ $values.backoffLimit }}
activeDeadlineSeconds: {{ $values.activeDeadlineSeconds }}
ttlSecondsAfterFinished: {{ $values.ttlSecondsAfterFinished }}
template:
  metadata:
    labels:
      {{- include "cogmill.rayLabels" $meta | nindent 6 }}
    annotations:
      checksum/sources: {{ toJson (list .Values.config.models .Values.config.adapters .Values.config.s3) | sha256sum }}
      {{- with $values.pod.annotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    {{- include "cogmill.pod" $meta | nindent 4 }}
    restartPolicy: Never
    containers:
      - name: prefetch
        image: {{ include "cogmill.workerImage" . }}
        imagePullPolicy: {{ .Values.workerImage.pullPolicy }}
        command: [cogmill, model, fetch, --all]
        terminationMessagePolicy: FallbackToLogsOnError
        env:
          - {name: COGMILL_CONFIG, value: /etc/cogmill/cogmill.toml}
          - {name: COGMILL_DATABASE_URL, value: "postgresql://none/none"}
          {{- range include "cogmill.secrets" . | fromJsonArray }}
          {{- if hasPrefix "s3" .file }}
          - name: {{ .variable }}
            valueFrom: {secretKeyRef: {name: {{ .secret | quote }}, key: {{ .key | quote }}}}
          {{- end }}
          {{- end }}
          {{- include "cogmill.caEnv" . | nindent 10 }}
          {{- with .Values.ray.worker.env }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        resources:
          {{- toYaml $values.resources | nindent 10 }}
        securityContext:
          {{- include "cogmill.containerSecurity" . | nindent 10 }}
        volumeMounts:
          - {name: config, mountPath: /etc/cogmill, readOnly: true}
          - {name: tmp, mountPath: /tmp}
          - {name: home, mountPath: /home/cogmill}
          - {name: models-cache, mountPath: {{ .Values.modelsCache.mountPath }}}
          {{- include "cogmill.extraMounts" (dict "root" . "component" "prefetch") | nindent 10 }}
          {{- if .Values.weights.volume }}
          - {name: weights, mountPath: {{ .Values.weights.mountPath }}, readOnly: true}
          {{- end }}
    volumes:
      - name: config
        configMap: {name: {{ include "cogmill.fullname" . }}}
      - name: tmp
        emptyDir: {sizeLimit: 1Gi}
      - name: home
        emptyDir: {sizeLimit: 1Gi}
      - name: models-cache
        {{- include "cogmill.modelsCacheVolume" . | nindent 8 }}
      {{- include "cogmill.extraVolumes" (dict "root" . "component" "prefetch") | nindent 6 }}
      {{- with .Values.weights.volume }}
      - name: weights
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}
