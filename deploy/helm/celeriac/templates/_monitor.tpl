{{/* An endpoint of a ServiceMonitor or a PodMonitor. */}}
{{- define "celeriac.endpoint" -}}
{{- with .monitor -}}
path: {{ .path }}
interval: {{ .interval }}
honorLabels: {{ .honorLabels }}
relabelings:
  {{- /* Not the address, which changes with each restart. */}}
  - targetLabel: instance
    {{- if eq $.context.Values.kind "StatefulSet" }}
    sourceLabels: [__meta_kubernetes_pod_name]
    {{- else }}
    replacement: {{ include "celeriac.fullname" $.context }}
    {{- end }}
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $monitor := . }}
{{- range $key := list "tlsConfig" "basicAuth" "authorization" }}
{{- with index $monitor $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- if .context.Values.config.http.tls }}
scheme: https
{{- end }}
{{- end -}}
