{{- define "tritonfleet.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "tritonfleet.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "tritonfleet.labels" -}}
{{- $own := dict
      "app.kubernetes.io/name" .Chart.Name
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/managed-by" .Release.Service
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) -}}
{{- toYaml (merge $own .Values.commonLabels) -}}
{{- end -}}

{{- define "tritonfleet.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "tritonfleet.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "tritonfleet.image" -}}
{{- with .Values.image -}}
{{ with .registry }}{{ . }}/{{ end }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{- /* "true" where HTTPRoutes are written: as the values say or, by `auto`, where the cluster has the kind. */ -}}
{{- define "tritonfleet.gatewayApi" -}}
{{- $enabled := .Values.gatewayApi.enabled -}}
{{- if eq (toString $enabled) "auto" -}}
{{ .Capabilities.APIVersions.Has "gateway.networking.k8s.io/v1/HTTPRoute" }}
{{- else -}}
{{ $enabled }}
{{- end -}}
{{- end -}}

{{- /* "true" where policies of Envoy Gateway are written, likewise. */ -}}
{{- define "tritonfleet.envoyPolicies" -}}
{{- $enabled := .Values.gatewayApi.envoyPolicies -}}
{{- if eq (toString $enabled) "auto" -}}
{{ .Capabilities.APIVersions.Has "gateway.envoyproxy.io/v1alpha1/BackendTrafficPolicy" }}
{{- else -}}
{{ $enabled }}
{{- end -}}
{{- end -}}

{{- /* The operator's TRITONFLEET_WORKLOADS: the value `workloads` as JSON, its special cases resolved. */ -}}
{{- define "tritonfleet.workloads" -}}
{{- $workloads := deepCopy .Values.workloads -}}
{{- $secrets := list -}}
{{- range .Values.workloads.imagePullSecrets -}}{{- $secrets = append $secrets .name -}}{{- end -}}
{{- $_ := set $workloads "imagePullSecrets" $secrets -}}
{{- $user := toString .Values.workloads.runAsUser -}}
{{- if and (eq $user "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1/SecurityContextConstraints") -}}
{{- $user = "cluster" -}}
{{- end -}}
{{- if eq $user "auto" -}}
{{- $_ := unset $workloads "runAsUser" -}}
{{- else if eq $user "cluster" -}}
{{- $_ := set $workloads "runAsUser" nil -}}
{{- end -}}
{{- toJson $workloads -}}
{{- end -}}

{{- /* NAME=VALUE of each label that only the gateway's series have. */ -}}
{{- define "tritonfleet.gatewayLabels" -}}
{{- $labels := list -}}
{{- range $name, $value := .Values.prometheus.gatewayLabels -}}
{{- $labels = append $labels (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- if and .Values.prometheus.url (not $labels) (eq (include "tritonfleet.gatewayApi" .) "true") -}}
{{- fail "prometheus.gatewayLabels must be set with prometheus.url and the Gateway API, such as {namespace: envoy-gateway-system}: the labels that only the gateway's series have" -}}
{{- end -}}
{{- join "," $labels -}}
{{- end -}}
