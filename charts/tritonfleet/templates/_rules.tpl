{{- /* What the operator does in every namespace that it watches; docs/reference/rbac.md has the same list. */ -}}
{{- define "tritonfleet.rules" -}}
# Watch ModelDeployments; read one before a delete.
- apiGroups: [tritonfleet.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch]
# Write the status, by server-side apply. The spec is never written.
- apiGroups: [tritonfleet.dev]
  resources: [modeldeployments/status]
  verbs: [patch]
# Records and pods of each revision. Server-side apply needs `patch`, and `create` if the
# object does not exist; `get` if the watch has not delivered it yet; `delete` for retired revisions.
- apiGroups: [apps]
  resources: [controllerrevisions, deployments]
  verbs: [get, list, watch, create, patch, delete]
# The rendered Triton configuration of each revision; Services of each revision and of the ModelDeployment.
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
# Limit node drains to one pod at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
{{- if .Values.workloads.networkPolicy }}
# workloads.networkPolicy: restrict ingress to Triton's ports.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if .Values.workloads.podMonitor.enabled }}
# workloads.podMonitor.enabled: let Prometheus scrape every Triton pod.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if eq (include "tritonfleet.gatewayApi" .) "true" }}
# gatewayApi.enabled: the route of each ModelDeployment with `traffic.gateway`, deleted when that is unset.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
# gatewayApi.enabled: report a Gateway that does not exist, and the URL through it.
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways]
  verbs: [list]
{{- end }}
{{- if eq (include "tritonfleet.envoyPolicies" .) "true" }}
# gatewayApi.envoyPolicies: Envoy Gateway's policy for `traffic.gateway.consistentHash`, deleted when that is unset.
- apiGroups: [gateway.envoyproxy.io]
  resources: [backendtrafficpolicies]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Diagnose pods that are not ready: GPU, image, model files, Triton.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# Detect scalers that compete for a ModelDeployment or its Deployments.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
# Events for `kubectl describe`.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
