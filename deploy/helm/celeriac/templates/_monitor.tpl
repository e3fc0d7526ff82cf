{{/* An endpoint of a ServiceMonitor or a PodMonitor. */}}
{{- define "celeriac.endpoint" -}}
{{- with .monitor -}}
path: {{ .path }}
interval: {{ .interval }}
honorLabels: {{ .honorLabels }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if .context.Values.config.http.tls }}
scheme: https
{{- end }}
{{- end -}}
