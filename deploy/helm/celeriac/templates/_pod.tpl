{{/* The pod of a StatefulSet and of a Deployment. */}}
{{- define "celeriac.pod" -}}
metadata:
  labels:
    {{- include "celeriac.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    {{- /* A changed configuration triggers a rollout. */}}
    checksum/config: {{ .Values.config | toYaml | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "celeriac.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    {{- if not (include "celeriac.openshift" .) }}
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  containers:
    - {{ include "celeriac.container" (dict "context" . "port" "http" "prefix" "") | nindent 6 | trim }}
  volumes:
    {{- include "celeriac.volumes" (dict "context" . "prefix" "") | nindent 4 }}
    {{- if not .Values.persistence.enabled }}
    - name: data
      {{- include "celeriac.emptyDir" . | nindent 6 }}
    {{- else if eq .Values.kind "Deployment" }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ default (include "celeriac.fullname" .) .Values.persistence.existingClaim }}
    {{- end }}
  {{- range $key := list "nodeSelector" "tolerations" "affinity" "topologySpreadConstraints" "priorityClassName" }}
  {{- with index $.Values $key }}
  {{ $key }}: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* The spec of a volume claim. */}}
{{- define "celeriac.claim" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end -}}
