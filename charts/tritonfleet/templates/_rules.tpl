{{- /* What the operator does in every namespace that it watches; docs/reference/rbac.md has the same list. */ -}}
{{- define "tritonfleet.rules" -}}
# Learn of every ModelDeployment; read one afresh before something is deleted on its behalf.
- apiGroups: [tritonfleet.dev]
  resources: [modeldeployments]
  verbs: [get, list, watch]
# Say how it stands, by server-side apply. The spec is never written.
- apiGroups: [tritonfleet.dev]
  resources: [modeldeployments/status]
  verbs: [patch]
# The record of each revision, and the pods that serve it. Server-side apply is `patch`, and `create` where the
# object is missing; `get` where the watch has not brought it yet; `delete` for what serves no longer.
- apiGroups: [apps]
  resources: [controllerrevisions, deployments]
  verbs: [get, list, watch, create, patch, delete]
# The rendered Triton configuration of each revision; the addresses of each revision and of the ModelDeployment.
- apiGroups: [""]
  resources: [configmaps, services]
  verbs: [get, list, watch, create, patch, delete]
# One pod at a time leaves a node that is drained.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
{{- if .Values.workloads.networkPolicy }}
# workloads.networkPolicy: only Triton's ports can be reached.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if .Values.workloads.podMonitor }}
# workloads.podMonitor: Prometheus reads every Triton pod.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch]
{{- end }}
{{- if eq (include "tritonfleet.gatewayApi" .) "true" }}
# gatewayApi.enabled: the route of each ModelDeployment with `traffic.gateway`, deleted when that goes.
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
# Why a pod is not ready: it waits for a GPU, an image, the model's files, or Triton.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# See what else scales a ModelDeployment or its Deployments: two that write the same number would fight.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch]
# Tell `kubectl describe` what changed.
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}
