{{/* The name of every object. */}}
{{- define "celeriac.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Selector labels, which must never change during the life of a release. */}}
{{- define "celeriac.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "celeriac.labels" -}}
{{ include "celeriac.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "celeriac.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "celeriac.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "celeriac.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "celeriac.configMap" -}}
{{ default (include "celeriac.fullname" .) .Values.existingConfigMap }}
{{- end -}}

{{- define "celeriac.port" -}}
{{ .Values.config.http.listen | splitList ":" | last | int }}
{{- end -}}

{{- define "celeriac.dataDir" -}}
{{ default "/var/lib/celeriac" .Values.config.data_dir }}
{{- end -}}

{{/* Not empty if the cluster assigns uid and group. */}}
{{- define "celeriac.openshift" -}}
{{- if or (eq .Values.platform "openshift") (and (eq .Values.platform "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}
true
{{- end -}}
{{- end -}}

{{/* config.global.grace_period in seconds. */}}
{{- define "celeriac.grace" -}}
{{- $units := dict "ms" 0 "s" 1 "m" 60 "h" 3600 -}}
{{- $grace := 0 -}}
{{- range regexFindAll "[0-9]+(ms|[smh])" (default "20s" (default dict .Values.config.global).grace_period | toString) -1 -}}
{{- $grace = add $grace (mul (regexFind "[0-9]+" . | int) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{ $grace }}
{{- end -}}

{{/* Checks that the schema cannot express. */}}
{{- define "celeriac.check" -}}
{{- if not .Values.existingConfigMap -}}
{{- if not .Values.config.brokers -}}
{{- fail "config.brokers: give at least one broker, such as {url: amqp://monitor@rabbitmq:5672//}" -}}
{{- end -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- range $index, $broker := .Values.config.brokers -}}
{{- if and (ne (default "transient" $broker.delivery) "stream") -}}
{{- fail (printf "config.brokers[%d].delivery: must be stream if replicas is above 1; otherwise each event is counted more than once" $index) -}}
{{- end -}}
{{- end -}}
{{- $labels := default dict (default dict .Values.config.global).external_labels -}}
{{- if or (not $labels.instance) (contains "${" (toString $labels.instance)) -}}
{{- fail "config.global.external_labels.instance: must be the same for all replicas, or series are duplicated; set config.remote_write[].replica to distinguish the replicas" -}}
{{- end -}}
{{- if or .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor, podMonitor: if replicas is above 1, each page has all series; push them instead" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if regexMatch "^(127[.]|localhost:|\\[::1\\])" .Values.config.http.listen -}}
{{- fail "config.http.listen: probes and Prometheus connect from outside the pod; leave the host out, as in :9808" -}}
{{- end -}}
{{- if ge (include "celeriac.grace" . | int) (int .Values.terminationGracePeriodSeconds) -}}
{{- fail "terminationGracePeriodSeconds: must be more than config.global.grace_period, or the last snapshot may be lost" -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (ne .Values.kind "StatefulSet") -}}
{{- fail "replicas: more than 1 requires kind StatefulSet, which gives each replica its own name and volume" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor, podMonitor: enable one of them, or every page is scraped twice" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (eq .Values.kind "Sidecar") -}}
{{- fail "serviceMonitor: a Sidecar has no Service; enable podMonitor" -}}
{{- end -}}
{{- end -}}
