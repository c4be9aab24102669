{{/* What the schema cannot say of that which is outside: Secrets, networks, volumes, what keeps Ray's state. */}}
{{- define "cogmill.validateOutside" -}}
{{- include "cogmill.validateExternalSecrets" . -}}
{{- include "cogmill.validateEgress" . -}}
{{- include "cogmill.validateIdentity" . -}}
{{- include "cogmill.validateModels" . -}}
{{- $ft := .Values.ray.gcsFaultTolerance -}}
{{- if and (eq $ft.backend "redis") (not $ft.redis.address) -}}
{{- fail "ray.gcsFaultTolerance.redis.address is needed where its backend is redis" -}}
{{- end -}}
{{- if and $ft.redis.usernameKey (not $ft.redis.existingSecret) -}}
{{- fail "ray.gcsFaultTolerance.redis.usernameKey needs existingSecret, whose key it is" -}}
{{- end -}}
{{- $taken := dict -}}
{{- if .Values.secretsAsFiles -}}{{- $_ := set $taken "COGMILL_SECRETS_DIR" "secretsAsFiles" -}}{{- end -}}
{{- if .Values.caBundle.configMap -}}
{{- range list "AWS_CA_BUNDLE" "PGSSLROOTCERT" "SSL_CERT_FILE" -}}{{- $_ := set $taken . "caBundle" -}}{{- end -}}
{{- end -}}
{{- range $where, $env := dict "extraEnv" .Values.extraEnv "ray.worker.env" .Values.ray.worker.env -}}
{{- range $env -}}
{{- if hasKey $taken .name -}}
{{- fail (printf "%s has %s, which %s sets" $where .name (get $taken .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.validateExternalSecrets" -}}
{{- if .Values.externalSecrets.enabled -}}
{{- if not .Values.externalSecrets.secretStoreRef.name -}}
{{- fail "externalSecrets.secretStoreRef.name is needed when externalSecrets.enabled is true: the store that has them" -}}
{{- end -}}
{{- $made := include "cogmill.externalSecrets" . | fromJson -}}
{{- if not $made -}}
{{- fail "externalSecrets.remote must say of one Secret at least where its keys are, as in {databaseUrl: {key: prod/cogmill, property: url}}" -}}
{{- end -}}
{{- $read := list "rayToken" -}}
{{- range include "cogmill.secrets" . | fromJsonArray -}}
{{- $read = append $read .remote -}}
{{- if and (hasKey $made .secret) (not (dig .remote "key" "" $.Values.externalSecrets.remote)) -}}
{{- fail (printf "externalSecrets.remote.%s.key is needed: it would make the Secret %s, which must have the key %s, too" .remote .secret .key) -}}
{{- end -}}
{{- end -}}
{{- range $remote, $ref := .Values.externalSecrets.remote -}}
{{- if and $ref.key (or (not (has $remote $read)) (and (eq $remote "rayToken") (not $.Values.ray.authSecret))) -}}
{{- fail (printf "externalSecrets.remote.%s has a key that nothing reads: name the Secret that it becomes (%s)" $remote (get (dict "listenUrl" "database.listenUrlKey" "s3AccessKey" "s3.existingSecret" "s3SecretKey" "s3.existingSecret" "rayToken" "ray.authSecret") $remote)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.validateEgress" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- if $egress.enabled -}}
{{- if not .Values.networkPolicy.enabled -}}
{{- fail "networkPolicy.egress.enabled needs networkPolicy.enabled" -}}
{{- end -}}
{{- range $component, $calls := include "cogmill.calls" . | fromJson -}}
{{- range prepend $calls "dns" -}}
{{- if and (hasKey $egress .) (ne . "identity") (not (get $egress .).to) -}}
{{- fail (printf "networkPolicy.egress.%s.to is needed: whom %s calls there, as in [{ipBlock: {cidr: 10.1.2.0/24}}]" . $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.validateModels" -}}
{{- $cache := .Values.modelsCache -}}
{{- if and $cache.claim.create $cache.volume -}}
{{- fail "modelsCache.claim.create and modelsCache.volume exclude each other" -}}
{{- end -}}
{{- if $cache.prefetch.enabled -}}
{{- if or (not (or $cache.claim.create $cache.volume)) (hasKey $cache.volume "emptyDir") (hasKey $cache.volume "ephemeral") -}}
{{- fail "modelsCache.prefetch.enabled needs modelsCache.claim.create, or a modelsCache.volume that outlives a pod" -}}
{{- end -}}
{{- if not (or (include "cogmill.fetches" (dict "root" . "scheme" "hf://")) (include "cogmill.fetches" (dict "root" . "scheme" "s3://"))) -}}
{{- fail "modelsCache.prefetch.enabled, and no source of config.models or config.adapters is hf:// or s3://: there is nothing to fetch" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cogmill.validateIdentity" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- if and $egress.enabled (include "cogmill.identity" .) (not $egress.identity.to) -}}
{{- fail "networkPolicy.egress.identity.to is needed where s3.existingSecret is empty: where pods get their cloud's credentials, as in [{ipBlock: {cidr: 169.254.170.23/32}}] of EKS Pod Identity" -}}
{{- end -}}
{{- end -}}
