{{/* The RayCluster: its whole spec. KubeRay leaves running pods as they are when their template changes, so the controller
     names a cluster by a hash of this and makes another one when it changes: nothing may stand here that changes with each
     version of the chart, or every upgrade would roll the GPUs. */}}

{{/* The image of the Ray head and of its autoscaler. */}}
{{- define "cogmill.headImage" -}}
{{- $image := default dict .Values.ray.head.image -}}
{{- if or $image.repository $image.tag -}}
{{- printf "%s:%s" (default .Values.workerImage.repository $image.repository) (default (default .Chart.AppVersion .Values.workerImage.tag) $image.tag) -}}
{{- else -}}
{{- include "cogmill.workerImage" . -}}
{{- end -}}
{{- end -}}

{{/* Labels of its pods, and of its dispatcher: none that changes with each version of the chart. */}}
{{- define "cogmill.rayLabels" -}}
{{ include "cogmill.selector" . }}
app.kubernetes.io/part-of: cogmill
{{- with .pod.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Nobody moves these pods to save a node: Ray's autoscaler ends those without work, and then their node is empty. A
     drain by hand, or a cloud that takes its node back, moves them all the same. */}}
{{- define "cogmill.rayAnnotations" -}}
{{- merge (dict) (default dict .pod.annotations) (dict
      "karpenter.sh/do-not-disrupt" "true"
      "cluster-autoscaler.kubernetes.io/safe-to-evict" "false") | toYaml -}}
{{- end -}}

{{/* KubeRay's own probes ask the dashboard agent, which plain `ray` does not have: each node brings its own.
     `replicas` is never said: KubeRay clamps it between the bounds, and where Ray's autoscaler runs they are its own. */}}
{{- define "cogmill.raycluster" -}}
{{- $scaled := include "cogmill.scaled" . -}}
{{- $head := dict "root" . "component" "ray-head" "pod" .Values.ray.head.pod -}}
rayVersion: {{ .Values.ray.version | quote }}
authOptions:
  mode: token
  {{- with .Values.ray.authSecret }}
  secretName: {{ . }}
  {{- end }}
{{- include "cogmill.gcsFaultTolerance" . }}
{{- if $scaled }}
enableInTreeAutoscaling: true
autoscalerOptions:
  version: v2
  upscalingMode: Default
  # When idle pods end is said by each group, where it can change while they run.
  image: {{ include "cogmill.headImage" . }}
  imagePullPolicy: {{ .Values.workerImage.pullPolicy }}
  env:
    - name: RAY_AUTOSCALER_RECONCILE_ALLOCATE_STATUS_TIMEOUT_S
      value: {{ .Values.ray.autoscaler.allocateTimeoutSeconds | quote }}
  resources:
    {{- toYaml .Values.ray.autoscaler.resources | nindent 4 }}
  # KubeRay makes this container, and gives it no other.
  securityContext:
    {{- include "cogmill.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: autoscaler-tmp, mountPath: /tmp}
    - {name: autoscaler-home, mountPath: /home/cogmill}
    # KubeRay lets the head's account change pods and RayClusters: the token is where the autoscaler alone can read it,
    # since whoever holds Ray's own token can read whatever the head mounts.
    - {name: api-token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}
headGroupSpec:
  rayStartParams:
    num-cpus: "0"
    num-gpus: "0"
    node-manager-port: "8077"
    object-manager-port: "8076"
    object-store-memory: "200000000"
    object-spilling-directory: /tmp/spill
    include-dashboard: "false"
    disable-usage-stats: "true"
  template:
    metadata:
      labels:
        {{- include "cogmill.rayLabels" $head | nindent 8 }}
      annotations:
        {{- include "cogmill.rayAnnotations" $head | nindent 8 }}
    spec:
      {{- include "cogmill.pod" $head | nindent 6 }}
      containers:
        - name: ray-head
          image: {{ include "cogmill.headImage" . }}
          imagePullPolicy: {{ .Values.workerImage.pullPolicy }}
          {{- if include "cogmill.redisTls" . }}
          env:
            {{- include "cogmill.redisEnv" . | nindent 12 }}
          {{- end }}
          ports:
            - {name: gcs-server, containerPort: 6379}
            {{- if $scaled }}
            # Of the autoscaler's container, for which KubeRay names none.
            - {name: autoscaler, containerPort: 44217}
            {{- end }}
          livenessProbe:
            tcpSocket: {port: gcs-server}
            initialDelaySeconds: 30
            periodSeconds: 10
            failureThreshold: 6
          readinessProbe:
            tcpSocket: {port: gcs-server}
            periodSeconds: 5
          resources:
            {{- toYaml .Values.ray.head.resources | nindent 12 }}
          securityContext:
            {{- include "cogmill.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: home, mountPath: /home/cogmill}
            - {name: shm, mountPath: /dev/shm}
            {{- if include "cogmill.redisCa" . }}
            - {name: ca, mountPath: /etc/cogmill-ca, readOnly: true}
            {{- end }}
      volumes:
        {{- if include "cogmill.redisCa" . }}
        - name: ca
          configMap: {name: {{ .Values.caBundle.configMap | quote }}, items: [{key: {{ .Values.caBundle.key | quote }}, path: ca.crt}]}
        {{- end }}
        - name: tmp
          emptyDir: {sizeLimit: 10Gi}
        - name: home
          emptyDir: {sizeLimit: 1Gi}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 512Mi}
        {{- if $scaled }}
        - name: autoscaler-tmp
          emptyDir: {sizeLimit: 1Gi}
        - name: autoscaler-home
          emptyDir: {sizeLimit: 100Mi}
        - name: api-token
          {{- include "cogmill.apiToken" . | nindent 10 }}
        {{- end }}
workerGroupSpecs:
  {{- range $group := include "cogmill.groups" . | fromJsonArray }}
  - groupName: {{ $group.name }}
    minReplicas: {{ int $group.least }}
    maxReplicas: {{ int $group.most }}
    {{- if hasKey $group "priority" }}
    priority: {{ int $group.priority }}
    {{- end }}
    {{- if $scaled }}
    idleTimeoutSeconds: {{ int $group.idle }}
    {{- end }}
    rayStartParams:
      num-gpus: {{ int $group.worker.gpus | quote }}
      node-manager-port: "8077"
      object-manager-port: "8076"
      object-store-memory: "500000000"
      object-spilling-directory: /spill
      disable-usage-stats: "true"
      {{- with $group.resource }}
      # In quotes that the shell takes off, and Ray's autoscaler too. A worker takes a thousandth of it.
      resources: {{ printf "'{%s: 1}'" (toJson .) | quote }}
      {{- end }}
    template:
      {{- include "cogmill.rayWorker" (dict "root" $ "worker" $group.worker) | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* A worker's pod. Arguments: dict "root" $ "worker" .Values.ray.worker */}}
{{- define "cogmill.rayWorker" -}}
{{- $worker := .worker -}}
{{- $meta := dict "root" .root "component" "ray-worker" "pod" $worker.pod -}}
{{- $gpus := ternary (dict $worker.gpuResource (int $worker.gpus)) (dict) (ne $worker.gpuResource "") -}}
{{- $resources := dict
      "requests" (merge (dict) (default (dict) $worker.resources.requests) $gpus)
      "limits" (merge (dict) (default (dict) $worker.resources.limits) $gpus) -}}
metadata:
  labels:
    {{- include "cogmill.rayLabels" $meta | nindent 4 }}
  annotations:
    {{- include "cogmill.rayAnnotations" $meta | nindent 4 }}
spec:
  {{- include "cogmill.pod" $meta | nindent 2 }}
  terminationGracePeriodSeconds: {{ int $worker.terminationGracePeriodSeconds }}
  {{- with $worker.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  containers:
    - name: ray-worker
      image: {{ include "cogmill.workerImage" .root }}
      imagePullPolicy: {{ .root.Values.workerImage.pullPolicy }}
      env:
        # Ends before Kubernetes kills the pod.
        - name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
          value: {{ sub (int $worker.terminationGracePeriodSeconds) 15 | quote }}
        {{- include "cogmill.caEnv" .root | nindent 8 }}
        {{- with $worker.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - {name: raylet, containerPort: 8077}
      livenessProbe:
        tcpSocket: {port: raylet}
        initialDelaySeconds: 60
        periodSeconds: 10
        failureThreshold: 6
      readinessProbe:
        tcpSocket: {port: raylet}
        periodSeconds: 5
      resources:
        {{- toYaml $resources | nindent 8 }}
      securityContext:
        {{- include "cogmill.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: home, mountPath: /home/cogmill}
        - {name: shm, mountPath: /dev/shm}
        - {name: spill, mountPath: /spill}
        - {name: models-cache, mountPath: {{ .root.Values.modelsCache.mountPath }}}
        {{- include "cogmill.extraMounts" $meta | nindent 8 }}
        {{- if .root.Values.weights.volume }}
        - {name: weights, mountPath: {{ .root.Values.weights.mountPath }}, readOnly: true}
        {{- end }}
  volumes:
    {{- include "cogmill.extraVolumes" $meta | nindent 4 }}
    - name: tmp
      emptyDir: {sizeLimit: {{ $worker.tmpSize }}}
    # What is compiled for the GPU is kept here.
    - name: home
      emptyDir: {sizeLimit: 5Gi}
    - name: shm
      emptyDir: {medium: Memory, sizeLimit: {{ $worker.shmSize }}}
    - name: spill
      emptyDir: {sizeLimit: {{ $worker.spillSize }}}
    - name: models-cache
      {{- include "cogmill.modelsCacheVolume" .root | nindent 6 }}
    {{- with .root.Values.weights.volume }}
    - name: weights
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end -}}
