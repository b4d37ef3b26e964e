"""The Kubernetes objects that one ModelDeployment needs, one builder per kind."""
