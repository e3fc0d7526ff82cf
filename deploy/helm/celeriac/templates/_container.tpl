{{/* Probes a path. If the listener requires credentials or client certificates, it only checks that the port is open. */}}
{{- define "celeriac.probe" -}}
{{- $http := .context.Values.config.http -}}
{{- $tls := default dict $http.tls -}}
{{- if or $http.basic_auth_users $http.bearer_token_file $tls.client_ca_file -}}
tcpSocket:
  port: {{ .port }}
{{- else -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  {{- if $tls }}
  scheme: HTTPS
  {{- end }}
{{- end }}
{{- end -}}

{{/* The container, for pods and sidecars. `port` is the name of its port, `prefix` is prepended to volume names. */}}
{{- define "celeriac.container" -}}
{{- $context := .context -}}
{{- $values := $context.Values -}}
name: celeriac
image: {{ include "celeriac.image" $context | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [run, --config, /etc/celeriac/celeriac.yaml]
env:
  - name: CELERIAC_INSTANCE
    {{- if eq $values.kind "StatefulSet" }}
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
    {{- else }}
    value: {{ include "celeriac.fullname" $context | quote }}
    {{- end }}
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  {{- with $values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ .port }}
    containerPort: {{ include "celeriac.port" $context }}
{{- /* Allows for a large checkpoint, which is read before the port opens. */}}
startupProbe:
  {{- include "celeriac.probe" (dict "context" $context "port" .port "path" "/-/healthy") | nindent 2 }}
  periodSeconds: 5
  failureThreshold: 60
{{- /* Does not depend on brokers and receivers, because a restart would not bring them back. */}}
livenessProbe:
  {{- include "celeriac.probe" (dict "context" $context "port" .port "path" "/-/healthy") | nindent 2 }}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
{{- /* For information only: nothing waits for it. In a sidecar it would apply to the whole pod: while celeriac waits for a
       broker in that pod, the broker would be removed from its Service, and nothing could reach it. */}}
{{- if not .sidecar }}
readinessProbe:
  {{- include "celeriac.probe" (dict "context" $context "port" .port "path" "/-/ready") | nindent 2 }}
  periodSeconds: 15
  timeoutSeconds: 5
{{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- if not (include "celeriac.openshift" $context) }}
  runAsUser: 65532
  runAsGroup: 65532
  {{- end }}
  allowPrivilegeEscalation: false
  privileged: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: {{ .prefix }}config
    mountPath: /etc/celeriac
    readOnly: true
  - name: {{ .prefix }}data
    mountPath: {{ include "celeriac.dataDir" $context }}
  {{- range $values.secretFiles }}
  - name: {{ $.prefix }}secret-{{ .name }}
    mountPath: /run/secrets/{{ .name }}
    readOnly: true
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Volumes of the container, except for data_dir. */}}
{{- define "celeriac.volumes" -}}
{{- $values := .context.Values -}}
- name: {{ .prefix }}config
  configMap:
    name: {{ include "celeriac.configMap" .context }}
{{- range $values.secretFiles }}
- name: {{ $.prefix }}secret-{{ .name }}
  secret:
    secretName: {{ .secret }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "celeriac.emptyDir" -}}
emptyDir:
  sizeLimit: {{ .Values.persistence.size }}
{{- end -}}

{{/* For charts that depend on this one with kind: Sidecar. Add to the list of containers:
       {{- include "celeriac.sidecar.container" .Subcharts.celeriac | nindent 8 }} */}}
{{- define "celeriac.sidecar.container" -}}
- {{ include "celeriac.container" (dict "context" . "port" "celeriac" "prefix" "celeriac-" "sidecar" true) | nindent 2 | trim }}
{{- end -}}

{{/* Add to the list of volumes. */}}
{{- define "celeriac.sidecar.volumes" -}}
{{ include "celeriac.volumes" (dict "context" . "prefix" "celeriac-") }}
- name: celeriac-data
  {{- if .Values.persistence.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim }}
  {{- else }}
  {{- include "celeriac.emptyDir" . | nindent 2 }}
  {{- end }}
{{- end -}}
