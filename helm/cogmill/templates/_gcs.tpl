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

{{/* Whether its Redis is reached by TLS: empty, or "yes". Ray looks at no variable of OpenSSL's then, and trusts nobody
     unless it is told whom (Ray's guide to GCS fault tolerance, Connect to Redis over TLS). KubeRay's Job that cleans up
     has the head's environment and volumes. */}}
{{- define "cogmill.redisTls" -}}
{{- $values := .Values.ray.gcsFaultTolerance -}}
{{- if and (eq $values.backend "redis") (hasPrefix "rediss://" $values.redis.address) -}}yes{{- end -}}
{{- end -}}

{{/* Whether the head has a volume with authorities: empty, or "yes". */}}
{{- define "cogmill.redisCa" -}}
{{- if and (include "cogmill.redisTls" .) .Values.caBundle.configMap -}}yes{{- end -}}
{{- end -}}

{{- define "cogmill.redisEnv" -}}
- {name: RAY_REDIS_CA_CERT, value: {{ ternary "/etc/cogmill-ca/ca.crt" "/etc/ssl/certs/ca-certificates.crt" (not (empty .Values.caBundle.configMap)) }}}
{{- $host := (urlParse .Values.ray.gcsFaultTolerance.redis.address).hostname }}
{{- if not (regexMatch "^[0-9.]+$|:" $host) }}
- {name: RAY_REDIS_SERVER_NAME, value: {{ $host | quote }}}
{{- end }}
{{- end -}}
