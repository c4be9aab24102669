{{/* Fault tolerance of Ray's GCS. It is part of the RayCluster's spec, and so of the hash in its name: KubeRay lets nobody
     change the backend of one that runs (a rule of its CRD), and each cluster has keys or a volume of its own. `backend`
     is said for RocksDB alone: KubeRay before 1.7 does not know the field, and takes Redis. */}}
{{- define "cogmill.gcsFaultTolerance" -}}
{{- $values := .Values.ray.gcsFaultTolerance -}}
{{- if eq $values.backend "redis" }}
gcsFaultToleranceOptions:
  redisAddress: {{ $values.redis.address | quote }}
  {{- with $values.redis.existingSecret }}
  redisPassword: {valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: {{ $values.redis.passwordKey | quote }}}}}
  {{- with $values.redis.usernameKey }}
  redisUsername: {valueFrom: {secretKeyRef: {name: {{ $values.redis.existingSecret | quote }}, key: {{ . | quote }}}}}
  {{- end }}
  {{- end }}
{{- else if eq $values.backend "rocksdb" }}
gcsFaultToleranceOptions:
  backend: rocksdb
  storage:
    size: {{ $values.storage.size | quote }}
    {{- with $values.storage.storageClassName }}
    storageClassName: {{ . | quote }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Whether the head needs the certificate authorities, for its Redis: empty, or "yes". Ray looks at no variable of
     OpenSSL's for it (Ray's guide to GCS fault tolerance, Connect to Redis over TLS). KubeRay's Job that cleans up has
     the head's environment and volumes. */}}
{{- define "cogmill.redisCa" -}}
{{- $values := .Values.ray.gcsFaultTolerance -}}
{{- if and (eq $values.backend "redis") (hasPrefix "rediss://" $values.redis.address) .Values.caBundle.configMap -}}yes{{- end -}}
{{- end -}}
