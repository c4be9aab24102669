{{/* The dispatcher of one Ray cluster, as the controller makes it: it puts the cluster's name in the place of @CLUSTER@, and
     that of the ConfigMap with the cluster's own copy of cogmill.toml in the place of @CONFIG@. One pod, one container: a
     raylet without resources, and the driver that finds it in the same process namespace. One dispatcher drives one
     RayCluster, so the old one ends before the new one starts. */}}
{{- define "cogmill.dispatcher" -}}
{{- $meta := dict "root" . "component" "dispatcher" "pod" .Values.dispatcher.pod -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "cogmill.fullname" . }}-dispatcher
  labels:
    {{- include "cogmill.rayLabels" $meta | nindent 4 }}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector:
    matchLabels:
      {{- include "cogmill.selector" $meta | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "cogmill.rayLabels" $meta | nindent 8 }}
      {{- with .Values.dispatcher.pod.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "cogmill.pod" $meta | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: dispatcher
          image: {{ include "cogmill.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [dispatcher-entrypoint]
          args:
            - --object-store-memory=100000000
            - --object-spilling-directory=/tmp/spill
            - --disable-usage-stats
          env:
            # Whoever holds Ray's token can read what is here: so not the master key.
            {{- include "cogmill.env" (dict "root" . "component" "dispatcher" "keyless" true) | nindent 12 }}
            - name: COGMILL_RAY__CLUSTER
              value: "@CLUSTER@"
            - name: COGMILL_RAY__ADDRESS
              value: "@CLUSTER@-head-svc:6379"
            - name: RAY_AUTH_MODE
              value: token
            - name: RAY_AUTH_TOKEN
              valueFrom: {secretKeyRef: {name: {{ .Values.ray.authSecret | default "@CLUSTER@" | quote }}, key: auth_token}}
            # This raylet runs no actors: nothing to drain.
            - name: RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
              value: "5"
          ports:
            - {name: metrics, containerPort: 9101}
          # The page opens once the cluster is joined and the claims are adopted. It fails when the loop that asks Ray
          # for its nodes has been silent for a minute: a driver whose head came back without it must be restarted.
          startupProbe:
            httpGet: {path: /healthz, port: metrics}
            periodSeconds: 5
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
          resources:
            {{- toYaml .Values.dispatcher.resources | nindent 12 }}
          securityContext:
            {{- include "cogmill.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - {name: config, mountPath: /etc/cogmill, readOnly: true}
            - {name: tmp, mountPath: /tmp}
            {{- include "cogmill.extraMounts" (dict "root" . "component" "dispatcher") | nindent 12 }}
            {{- include "cogmill.secretMounts" . | nindent 12 }}
            - {name: home, mountPath: /home/cogmill}
            - {name: shm, mountPath: /dev/shm}
      volumes:
        - name: config
          configMap: {name: "@CONFIG@"}
        {{- include "cogmill.extraVolumes" (dict "root" . "component" "dispatcher") | nindent 8 }}
        {{- include "cogmill.secretVolumes" (dict "root" . "component" "dispatcher" "keyless" true) | nindent 8 }}
        - name: tmp
          emptyDir: {sizeLimit: 5Gi}
        - name: home
          emptyDir: {sizeLimit: 100Mi}
        - name: shm
          emptyDir: {medium: Memory, sizeLimit: 256Mi}
{{- end -}}
