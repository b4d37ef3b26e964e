{{- /* Every setting of the operator, in the order of its settings. */ -}}
{{- define "tritonfleet.environment" -}}
- name: TRITONFLEET_TRITON_IMAGE
  value: {{ .Values.triton.image | quote }}
- name: TRITONFLEET_ALLOW_UNSAFE_IMAGE
  value: {{ .Values.triton.allowUnsafeImage | quote }}
- name: TRITONFLEET_FETCH_IMAGE
  value: {{ include "tritonfleet.image" . | quote }}
- name: TRITONFLEET_FETCH_IMAGE_PULL_POLICY
  value: {{ .Values.image.pullPolicy | quote }}
- name: TRITONFLEET_FETCH_ALLOWED_SCHEMES
  value: {{ join "," .Values.fetch.allowedSchemes | quote }}
- name: TRITONFLEET_FETCH_ALLOWED_HOSTS
  value: {{ join "," .Values.fetch.allowedHosts | quote }}
- name: TRITONFLEET_FETCH_ALLOW_PRIVATE_ADDRESSES
  value: {{ .Values.fetch.allowPrivateAddresses | quote }}
- name: TRITONFLEET_FETCH_PROXY
  value: {{ .Values.fetch.proxy.url | quote }}
- name: TRITONFLEET_FETCH_NO_PROXY
  value: {{ join "," .Values.fetch.proxy.noProxy | quote }}
- name: TRITONFLEET_FETCH_CA_CONFIG_MAP
  value: {{ .Values.fetch.ca.configMapName | quote }}
- name: TRITONFLEET_FETCH_CA_KEY
  value: {{ .Values.fetch.ca.key | quote }}
- name: TRITONFLEET_GATEWAY_API
  value: {{ include "tritonfleet.gatewayApi" . | quote }}
- name: TRITONFLEET_ENVOY_POLICIES
  value: {{ include "tritonfleet.envoyPolicies" . | quote }}
# Pods of ModelDeployments listen on the families of IP that the operator's own pod has.
- name: TRITONFLEET_POD_IPS
  valueFrom: {fieldRef: {fieldPath: status.podIPs}}
- name: TRITONFLEET_WORKLOADS
  value: {{ include "tritonfleet.workloads" . | quote }}
- name: TRITONFLEET_NAMESPACES
  value: {{ join "," .Values.watchNamespaces | quote }}
- name: TRITONFLEET_WORKERS
  value: {{ .Values.workers | quote }}
- name: TRITONFLEET_RESYNC_SECONDS
  value: {{ .Values.resyncSeconds | quote }}
- name: TRITONFLEET_HTTP_PORT
  value: "8080"
- name: TRITONFLEET_LEASE_NAMESPACE
  value: {{ .Release.Namespace | quote }}
- name: TRITONFLEET_LEASE_NAME
  value: {{ include "tritonfleet.fullname" . | quote }}
- name: TRITONFLEET_IDENTITY
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TRITONFLEET_LOG_LEVEL
  value: {{ .Values.logLevel | quote }}
- name: TRITONFLEET_TICK_SECONDS
  value: {{ .Values.autoscaling.tickSeconds | quote }}
- name: TRITONFLEET_SCRAPE_CONCURRENCY
  value: {{ .Values.autoscaling.scrapeConcurrency | quote }}
{{- with .Values.prometheus }}
- name: TRITONFLEET_PROMETHEUS_URL
  value: {{ .url | quote }}
- name: TRITONFLEET_PROMETHEUS_TOKEN_FILE
  value: {{ ternary (printf "/etc/tritonfleet/prometheus/%s" .tokenKey) "" (not (empty .tokenKey)) | quote }}
- name: TRITONFLEET_PROMETHEUS_USERNAME
  value: {{ .username | quote }}
- name: TRITONFLEET_PROMETHEUS_PASSWORD_FILE
  value: {{ ternary (printf "/etc/tritonfleet/prometheus/%s" .passwordKey) "" (not (empty .passwordKey)) | quote }}
- name: TRITONFLEET_PROMETHEUS_HEADERS
  value: {{ toJson .headers | quote }}
- name: TRITONFLEET_PROMETHEUS_CA_FILE
  value: {{ ternary (printf "/etc/tritonfleet/prometheus/%s" .caKey) "" (not (empty .caKey)) | quote }}
- name: TRITONFLEET_PROMETHEUS_WINDOW_SECONDS
  value: {{ .windowSeconds | quote }}
- name: TRITONFLEET_PROMETHEUS_GATEWAY_LABELS
  value: {{ include "tritonfleet.gatewayLabels" $ | quote }}
{{- end }}
- name: TRITONFLEET_CUSTOM_QUERIES
  value: {{ .Values.rollouts.customQueries | quote }}
{{- end -}}
