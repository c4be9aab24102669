{{/* What the schema cannot say of that which is outside: Secrets, networks, volumes, what keeps Ray's state. */}}
{{- define "cogmill.validateOutside" -}}
{{- include "cogmill.validateExternalSecrets" . -}}
{{- include "cogmill.validateEgress" . -}}
{{- include "cogmill.validateIdentity" . -}}
{{- include "cogmill.validateOwnUrls" . -}}
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
{{- range $where, $env := include "cogmill.envLists" . | fromJson -}}
{{- range $env -}}
{{- if hasKey $taken .name -}}
{{- fail (printf "%s has %s, which %s sets" $where .name (get $taken .name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A component that has a role of its own must not get another's way past the pooler. */}}
{{- define "cogmill.validateOwnUrls" -}}
{{- range $component := list "api" "dispatcher" "maintainer" -}}
{{- $said := (get $.Values $component).database | default dict -}}
{{- $where := printf "%s.database.listenUrlKey" $component -}}
{{- $own := or $said.existingSecret $said.urlKey -}}
{{- if and $own $.Values.database.listenUrlKey (not $said.listenUrlKey) -}}
{{- fail (printf "%s is needed: what database.listenUrlKey names is the URL of another role" $where) -}}
{{- end -}}
{{- if and $said.listenUrlKey (not (and $own $.Values.database.listenUrlKey)) -}}
{{- fail (printf "%s needs %s.database.existingSecret or urlKey beside it, and database.listenUrlKey for the migration" $where $component) -}}
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
{{- $read := list -}}
{{- range include "cogmill.remotes" . | fromJsonArray -}}
{{- $read = append $read .remote -}}
{{- if and (hasKey $made .secret) (not (dig .remote "key" "" $.Values.externalSecrets.remote)) -}}
{{- fail (printf "externalSecrets.remote.%s.key is needed: it would make the Secret %s, which must have the key %s, too" .remote .secret .key) -}}
{{- end -}}
{{- end -}}
{{- range $remote, $ref := .Values.externalSecrets.remote -}}
{{- if and $ref.key (not (has $remote $read)) -}}
{{- fail (printf "externalSecrets.remote.%s has a key that nothing reads: name the Secret that it becomes (%s)" $remote (get (dict "apiDatabaseUrl" "api.database" "apiListenUrl" "api.database.listenUrlKey" "dispatcherDatabaseUrl" "dispatcher.database" "dispatcherListenUrl" "dispatcher.database.listenUrlKey" "maintainerDatabaseUrl" "maintainer.database" "maintainerListenUrl" "maintainer.database.listenUrlKey" "clustersDatabaseUrl" "clusters.database.existingSecret" "listenUrl" "database.listenUrlKey" "s3AccessKey" "s3.existingSecret" "s3SecretKey" "s3.existingSecret" "rayToken" "ray.authSecret") $remote)) -}}
{{- end -}}
{{- end -}}
{{- range include "cogmill.keysRead" . | fromJsonArray -}}
{{- if hasKey $made .secret -}}
{{- $keys := list -}}
{{- range get $made .secret -}}{{- $keys = append $keys .secretKey -}}{{- end -}}
{{- if not (has .key $keys) -}}
{{- fail (printf "%s reads the key %s of the Secret %s, which externalSecrets.remote makes, and not with that key: put it into a Secret of another name" .where .key .secret) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What values read of Secrets by names of their own, as JSON: where it is said, the Secret, its key. Arguments: $ */}}
{{- define "cogmill.keysRead" -}}
{{- $read := list -}}
{{- range $where, $env := include "cogmill.envLists" . | fromJson -}}
{{- range $env -}}
{{- $name := .name -}}
{{- with dig "valueFrom" "secretKeyRef" dict . -}}
{{- if not .optional -}}{{- $read = append $read (dict "where" (printf "%s: %s" $where $name) "secret" .name "key" .key) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $extra := .Values.extraVolumes -}}
{{- range $source := include "cogmill.volumeSources" $extra.volume | fromJsonArray -}}
{{- if and (eq $source.kind "Secret") (not $source.optional) -}}
{{- range $source.items -}}{{- $read = append $read (dict "where" (printf "extraVolumes: %s" $extra.name) "secret" $source.name "key" .key) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $redis := .Values.ray.gcsFaultTolerance.redis -}}
{{- if and (eq .Values.ray.gcsFaultTolerance.backend "redis") $redis.existingSecret -}}
{{- range compact (list $redis.passwordKey $redis.usernameKey) -}}
{{- $read = append $read (dict "where" "ray.gcsFaultTolerance.redis" "secret" $redis.existingSecret "key" .) -}}
{{- end -}}
{{- end -}}
{{- toJson $read -}}
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
{{- include "cogmill.validateCallees" . -}}
{{- end -}}
{{- end -}}

{{/* Whether what the configuration calls can be reached by those rules. More rules of a component may let it do what these
     do not. */}}
{{- define "cogmill.validateCallees" -}}
{{- $egress := .Values.networkPolicy.egress -}}
{{- $called := include "cogmill.callees" . | fromJsonArray -}}
{{- range $component, $calls := include "cogmill.calls" . | fromJson -}}
{{- range $to := $called -}}
{{- if and (has $to.callee $calls) (or (not $to.by) (eq $to.by $component)) (not (get $egress.more $component)) -}}
{{- $rule := get $egress $to.callee -}}
{{- $ports := list -}}
{{- range $rule.ports -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- if and $to.private (include "cogmill.onlyPublic" $rule.to) -}}
{{- fail (printf "%s is at %s, which is private, and networkPolicy.egress.%s.to lets %s out to the internet alone: name it there, as in [{namespaceSelector: {}}] or [{ipBlock: {cidr: 10.1.2.0/24}}]" $to.where $to.host $to.callee $component) -}}
{{- end -}}
{{- /* A Service's port may be another one than its pods', which counts, and for the web's two ports it often is. */ -}}
{{- $mapped := and (has (int $to.port) (list 80 443)) (contains "Selector" (toJson $rule.to)) -}}
{{- if not (or $mapped (has (int $to.port) $ports)) -}}
{{- fail (printf "%s is at %s, port %d, which networkPolicy.egress.%s.ports does not have: %s could not call it" $to.where $to.host (int $to.port) $to.callee $component) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the configuration calls by an address, as JSON: where it is said, host, port, the value below egress, and who
     calls it where not everybody does who calls such. Arguments: $ */}}
{{- define "cogmill.callees" -}}
{{- $called := list -}}
{{- with dig "s3" "endpoint_url" "" .Values.config -}}
{{- $called = append $called (dict "where" "config.s3.endpoint_url" "callee" "s3" "url" . "port" (ternary 80 443 (hasPrefix "http://" .))) -}}
{{- end -}}
{{- $storage := dig "limits" "storage" "" .Values.config | default "" -}}
{{- if and (hasPrefix "redis" $storage) (not (contains "+unix:" $storage)) -}}
{{- $called = append $called (dict "where" "config.limits.storage" "callee" "redis" "by" "api" "url" $storage "port" 6379) -}}
{{- end -}}
{{- with dig "tracing" "endpoint" "" .Values.config -}}
{{- $called = append $called (dict "where" "config.tracing.endpoint" "callee" "collector" "url" . "port" (ternary 80 443 (hasPrefix "http://" .))) -}}
{{- end -}}
{{- if eq .Values.ray.gcsFaultTolerance.backend "redis" -}}
{{- $called = append $called (dict "where" "ray.gcsFaultTolerance.redis.address" "callee" "redis" "by" "ray-head" "url" .Values.ray.gcsFaultTolerance.redis.address "port" 6379) -}}
{{- end -}}
{{- $hosts := list -}}
{{- range $each := $called -}}
{{- /* No message repeats a password. */ -}}
{{- $rest := regexReplaceAll "^[a-z0-9+]+://" $each.url "" -}}
{{- range splitList "," (regexReplaceAll "^.*@" (regexReplaceAll "[/?#].*$" $rest "") "") -}}
{{- $port := regexFind ":[0-9]+$" . -}}
{{- $host := trimSuffix $port . | lower -}}
{{- /* A Service by its namespace: nobody offers S3 to the internet so, and in plain text. */ -}}
{{- $service := and (hasPrefix "http://" $each.url) (regexMatch "^[^.:]+\\.[^.:]+$" $host) -}}
{{- $private := or $service (include "cogmill.isPrivate" $host) -}}
{{- $hosts = append $hosts (merge (dict "host" $host "port" (default $each.port (trimPrefix ":" $port) | int) "private" (not (not $private))) (omit $each "url")) -}}
{{- end -}}
{{- end -}}
{{- toJson $hosts -}}
{{- end -}}

{{/* Whether a host is surely none of the internet: empty, or "yes". Arguments: "minio.minio.svc" */}}
{{- define "cogmill.isPrivate" -}}
{{- $name := "^[^.:]+$|\\.svc(\\.|$)|\\.(cluster\\.local|home\\.arpa|internal|lan|local|localdomain)\\.?$" -}}
{{- $four := "^(10|127|169\\.254|192\\.168|172\\.(1[6-9]|2[0-9]|3[01])|100\\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7]))\\.[0-9.]+$" -}}
{{- $six := "^\\[(::1|f[cd]|fe[89ab])" -}}
{{- if regexMatch (printf "%s|%s|%s" $name $four $six) . -}}yes{{- end -}}
{{- end -}}

{{/* Whether peers are the internet without private networks, as values.yaml has it: empty, or "yes". Arguments: a list */}}
{{- define "cogmill.onlyPublic" -}}
{{- $other := list -}}
{{- range . -}}
{{- $block := default dict .ipBlock -}}
{{- $public := or (eq (default "" $block.cidr) "2000::/3") (and (eq (default "" $block.cidr) "0.0.0.0/0") (has "10.0.0.0/8" (default list $block.except))) -}}
{{- if not $public -}}{{- $other = append $other . -}}{{- end -}}
{{- end -}}
{{- if and . (not $other) -}}yes{{- end -}}
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
