{{- define "fanfare.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "fanfare.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "fanfare.labels" -}}
{{ include "fanfare.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* A scalar or a list of them as TOML. `toToml` would make 100000.0 of a whole number. */}}
{{- define "fanfare.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $place, $one := . }}{{ if $place }}, {{ end }}{{ include "fanfare.tomlValue" $one }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "float64" . -}}
{{ if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* The settings of a map as TOML, then the tables in it, whose names begin with `prefix`. */}}
{{- define "fanfare.tomlTable" -}}
{{- $prefix := .prefix -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ toJson $key }} = {{ include "fanfare.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $name := printf "%s%s" $prefix (toJson $key) }}

[{{ $name }}]
{{- include "fanfare.tomlTable" (dict "prefix" (printf "%s." $name) "table" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A map of scalars, lists of scalars, and maps of these, as TOML. */}}
{{- define "fanfare.toml" -}}
{{ include "fanfare.tomlTable" (dict "prefix" "" "table" .) | trim }}
{{- end }}
